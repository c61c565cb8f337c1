# frozen_string_literal: true

require 'shellwords' unless defined?(Shellwords)
require 'zlib' unless defined?(Zlib)

module Presence
  # When heartbeats are, in the words of cron and of systemd.
  module Schedule
    # In seconds. A heartbeat that hangs must not pile up under the next ones.
    TIME_LIMIT = 300

    module_function

    # The minute field of a crontab for an interval in seconds. Cron knows whole minutes, and no interval that does not
    # divide the hour.
    def cron_minute(interval)
      minutes, odd = interval.divmod(60)
      unless odd == 0 && minutes.between?(1, 60) && 60 % minutes == 0
        raise ArgumentError, "cron cannot beat every #{interval} seconds; use 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800 or 3600"
      end

      { 1 => '*', 60 => '0' }.fetch(minutes, "*/#{minutes}")
    end

    # The share of the jitter that is this node's, in seconds. It is worked out from its name: a random one would
    # change the crontab in every run.
    def splay(node_name, jitter)
      jitter > 0 ? Zlib.crc32(node_name) % jitter : 0
    end

    # A crontab's command. Cron hands it to a shell, so every word is quoted for one; and a bare `%` is a newline to cron.
    # What it prints, cron would send by mail, every minute: only complaints are worth that.
    def cron_command(argv, splay)
      wait = splay > 0 ? "sleep #{splay}; " : ''
      "#{wait}timeout -k 10 #{TIME_LIMIT} #{Shellwords.join(argv)} >/dev/null".gsub('%') { '\%' }
    end

    # The content of the service of one heartbeat.
    def service_unit(argv)
      {
        'Unit' => {
          'Description' => 'One heartbeat of presence',
          'Wants' => 'network-online.target',
          'After' => 'network-online.target',
        },
        'Service' => {
          'Type' => 'oneshot',
          'ExecStart' => argv.map { |word| exec_word(word) }.join(' '),
          'TimeoutStartSec' => TIME_LIMIT,
          'StandardOutput' => 'null',
        },
      }
    end

    # The content of the timer that starts it.
    def timer_unit(interval, jitter)
      {
        'Unit' => { 'Description' => 'The heartbeat of presence' },
        'Timer' => {
          'OnActiveSec' => 0,
          'OnUnitActiveSec' => interval,
          'RandomizedDelaySec' => jitter,
          'AccuracySec' => '1s',
        },
        'Install' => { 'WantedBy' => 'timers.target' },
      }
    end

    # A word of an ExecStart= line (systemd.service(5), "Command lines").
    def exec_word(word)
      quoted = word.gsub(/[\\"]/) { |character| "\\#{character}" }.gsub('%', '%%').gsub('$') { '$$' }
      quoted.match?(%r{\A[A-Za-z0-9_./=:,@%$+-]+\z}) ? quoted : "\"#{quoted}\""
    end

    private_class_method :exec_word
  end
end
