# frozen_string_literal: true

require 'mixlib/shellout' unless defined?(Mixlib::ShellOut)

module Presence
  # Something that presence could not do. The message says what, where and what to do next, in the program's own words.
  class Error < StandardError; end

  # The program is not there.
  class Missing < Error; end

  # The program did not end within its time limit, and was ended.
  class TimedOut < Error; end

  # It failed, and nothing was changed (exit code 1), or was called wrongly (2).
  class Failed < Error; end

  # The last good output was kept: no store could be read, or a safety limit refused the change (3).
  class Refused < Error; end

  # The check command refused the new file; the old one stands (4).
  class CheckRefused < Error; end

  # The file is in place, its reload failed and is owed (5).
  class ReloadFailed < Error; end

  # What became of a command. `shown` is how messages call it.
  Outcome = Struct.new(:shown, :exitstatus, :stdout, :stderr) do
    def success?
      exitstatus == 0
    end

    def refused?
      exitstatus == 3
    end

    # What the program wants to be known although it succeeded.
    def warnings
      stderr.lines.map(&:chomp).grep(/\Awarning: /).map { |line| line.delete_prefix('warning: ') }
    end

    def error
      kind = { 3 => Refused, 4 => CheckRefused, 5 => ReloadFailed }.fetch(exitstatus, Failed)
      said = stderr.strip.empty? ? 'it said nothing' : stderr.strip
      kind.new("`#{shown}` ended with exit code #{exitstatus}: #{said}")
    end
  end

  # Runs command lines: never through a shell, always with a time limit.
  module Run
    # In seconds. Longer than presence goes on trying to get a record into a busy store.
    TIME_LIMIT = 120

    # What a `chef-client` under cron does not have in its PATH, and checks such as `haproxy -c` need.
    DEFAULT_PATH = %w(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin).freeze

    module_function

    # Runs it and says what became of it, whatever the exit code.
    def call(argv, timeout: TIME_LIMIT, cwd: '/', shown: nil)
      # A single word would be a line for a shell.
      raise ArgumentError, 'a command line is an array of a program and its arguments' unless argv.is_a?(Array) && argv.length > 1

      shown ||= argv.join(' ')
      command = Mixlib::ShellOut.new(*argv, timeout: timeout, cwd: cwd, environment: { 'PATH' => path.join(File::PATH_SEPARATOR) })
      command.run_command
      Outcome.new(shown, command.exitstatus, text(command.stdout), text(command.stderr))
    rescue Errno::ENOENT, Errno::EACCES
      raise Missing, "`#{argv.first}` is no program that can be run; `presence_install` installs it"
    rescue Mixlib::ShellOut::CommandTimeout
      raise TimedOut, "`#{shown}` did not end within #{timeout} seconds"
    end

    # Where that program is; nil if nowhere.
    def which(program)
      return (program if runnable?(program)) if program.include?('/')

      path.map { |dir| File.join(dir, program) }.find { |file| runnable?(file) }
    end

    def path
      ENV.fetch('PATH', '').split(File::PATH_SEPARATOR) | DEFAULT_PATH
    end

    def runnable?(file)
      File.file?(file) && File.executable?(file)
    end

    def text(bytes)
      bytes.to_s.dup.force_encoding(Encoding::UTF_8).scrub
    end

    private_class_method :path, :runnable?, :text
  end
end
