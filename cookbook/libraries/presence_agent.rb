# frozen_string_literal: true

require 'json' unless defined?(JSON)
require 'zlib' unless defined?(Zlib)

module Presence
  # The heartbeats: their configuration, and their schedule in the formats of cron and of systemd.
  module Agent
    # In seconds. A heartbeat that hangs must not pile up under the next ones.
    TIME_LIMIT = 300

    module_function

    # The content of presence.toml.
    def configuration(connection, targets, settings)
      stores = Array(connection.store)
      {
        'nodeinfo' => connection.nodeinfo,
        'store' => stores.empty? ? nil : stores,
        'folder' => connection.folder,
        'state-dir' => connection.state_dir,
      }.merge(settings.to_h { |key, value| [key.to_s.tr('_', '-'), value] })
        .merge('render' => targets.empty? ? nil : targets).compact
    end

    # The minute field of a crontab for an interval in seconds. Cron knows whole minutes, and no interval that does not
    # divide the hour.
    def cron_minute(interval)
      minutes, odd = interval.divmod(60)
      unless odd == 0 && minutes.between?(1, 60) && 60 % minutes == 0
        raise ArgumentError, "cron cannot beat every #{interval} seconds; use 60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800 or 3600"
      end

      { 1 => '*', 60 => '0' }.fetch(minutes, "*/#{minutes}")
    end

    # This node's share of the splay, in seconds. It follows from the node's name: a random one would change the crontab
    # in every run.
    def share(node_name, splay)
      splay > 0 ? Zlib.crc32(node_name) % splay : 0
    end

    # A crontab's command. Cron hands it to a shell, so every word is quoted for one; and a bare `%` is a newline to cron.
    # Cron mails all output, every minute. Only complaints are worth a mail.
    def cron_command(argv, wait, log: nil, nice: nil)
      sleep = wait > 0 ? "sleep #{wait}; " : ''
      words = [*(nice.nil? ? [] : ['nice', '-n', nice.to_s]), 'timeout', '-k', '10', TIME_LIMIT.to_s, *argv]
      target = log.nil? ? '>/dev/null' : ">>#{Command.quoted([log])} 2>&1"
      "#{sleep}#{Command.quoted(words)} #{target}".gsub('%') { '\%' }
    end

    # The content of the service of one heartbeat.
    def service_unit(argv, user: nil, nice: nil, environment_file: nil, log: nil)
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
          'User' => user,
          'Nice' => nice,
          'EnvironmentFile' => environment_file,
          'StandardOutput' => log.nil? ? 'null' : "append:#{log}",
          'StandardError' => log && "append:#{log}",
        }.compact,
      }
    end

    # The content of the timer that starts it.
    def timer_unit(interval, splay, delay_after_boot)
      {
        'Unit' => { 'Description' => 'The heartbeat of presence' },
        'Timer' => {
          'OnActiveSec' => 0,
          'OnBootSec' => delay_after_boot,
          'OnUnitActiveSec' => interval,
          'RandomizedDelaySec' => splay,
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

  # The `[[credential]]` tables of presence.toml. Each stands between two comments, so that `presence_credential` can
  # change its own table, and `presence_agent` the rest of the file.
  module Credential
    # The files of a credential: a property, and the name of its file, which is the key in the table, too.
    FILES = { ssh_key: 'ssh-key', known_hosts: 'known-hosts', token: 'token-file', login: 'login-file' }.freeze

    module_function

    # The folder of its files.
    def folder(url)
      Nodeinfo.id_from(url.sub(%r{\A[a-z+]+://}i, ''))
    end

    # All tables in a text, as it has them.
    def tables(text)
      any = /^# presence_credential (\S+): begin\n.*?^# presence_credential \1: end\n/m
      text.to_enum(:scan, any).map { Regexp.last_match(0) }.join
    end

    # The text with the table of that URL.
    def add(text, url, files)
      table = ["# presence_credential #{folder(url)}: begin", '[[credential]]', "url = #{url.to_json}"]
      table += files.map { |property, path| "#{FILES.fetch(property)} = #{path.to_json}" }
      table << "# presence_credential #{folder(url)}: end"
      block = "#{table.join("\n")}\n"
      return text.sub(pattern(url)) { block } if text.match?(pattern(url))

      text.empty? ? block : "#{text.chomp}\n#{block}"
    end

    # The text without the table of that URL.
    def remove(text, url)
      text.sub(pattern(url), '')
    end

    def pattern(url)
      name = Regexp.escape(folder(url))
      /^# presence_credential #{name}: begin\n.*?^# presence_credential #{name}: end\n/m
    end

    private_class_method :pattern
  end
end
