# frozen_string_literal: true

# The program `presence`: the command lines that the cookbook and the knife plugin run, and how they run them. Every
# command line is made here, as an array of words that no shell sees. The specs run each of them with the real program.

require 'etc' unless defined?(Etc)
require 'mixlib/shellout' unless defined?(Mixlib::ShellOut)
require 'shellwords' unless defined?(Shellwords)

module Presence
  # The settings of every command: the program, its user, and the places of facts, list and state. presence itself
  # decides where a setting is nil: by its environment, its presence.toml, its defaults.
  Connection = Struct.new(:program, :user, :config, :nodeinfo, :store, :folder, :state_dir, keyword_init: true) do
    # The environment of a command. Everybody on the machine can read a command line, so a store with a login in its
    # URL is not on it.
    def environment
      login? ? { 'PRESENCE_STORE' => Array(store).map { |url| url.gsub(',', '%2C') }.join(',') } : {}
    end

    # Whether the URL of a store has a password or a token.
    def login?
      Array(store).any? { |url| Mask.urls(url) != url }
    end
  end

  # Hides secrets in messages.
  module Mask
    # Shorter values are words such as `app`; to hide them makes messages unreadable.
    SHORTEST = 4

    module_function

    # The text without these secrets, and without the logins and queries of URLs.
    def secrets(text, secrets = [])
      long = secrets.map(&:to_s).select { |secret| secret.length >= SHORTEST }
      urls(long.sort_by { |secret| -secret.length }.reduce(text) { |masked, secret| masked.gsub(secret, '***') })
    end

    # A user of `ssh` is no secret; a user of `https` may be a token. In doubt, more is hidden.
    def urls(text)
      text.gsub(%r{\b(https?://)[^\s'"`<>]*@}i, '\1***@')
          .gsub(%r{\b([a-z][a-z0-9+.-]*://[^\s'"`<>/:@]*):[^\s'"`<>]*@}i, '\1:***@')
          .gsub(%r{\b(https?://[^\s'"`<>?#]+)[?#][^\s'"`<>]*}i, '\1?***')
    end
  end

  # The command lines.
  module Command
    # Commands that the cookbook knows and an older presence does not. The specs hold each of them to its command line
    # as soon as the program under test has it.
    RECENT = [].freeze

    module_function

    # This node's record.
    def emit(at)
      line(at, 'emit')
    end

    # Puts this node on the list, in every store.
    def publish(at)
      line(at, 'publish')
    end

    # Sets this node's state, then publishes.
    def state(at, state)
      line(at, 'state', positional: state)
    end

    # Takes a node off the list, this one if no id is given.
    def withdraw(at, id: nil)
      line(at, 'withdraw', positional: id)
    end

    # The nodes on the list, as one JSON object. Every selector is a glob but `states`, which are words.
    def list(at, part: nil, stacktype: nil, deployment: nil, states: [], where: {})
      line(at, 'list', '--format=json', *selectors(part, stacktype, deployment, states, where))
    end

    # One node, this one if no id is given, as a JSON object.
    def show(at, id: nil)
      line(at, 'show', '--format=json', positional: id)
    end

    # Asks nodes whether they answer; one JSON object.
    def check(at, part: nil, stacktype: nil, deployment: nil, states: [], where: {})
      line(at, 'check', '--format=json', *selectors(part, stacktype, deployment, states, where))
    end

    # The fleet's history, in words or as a JSON array.
    def log(at, json: false)
      line(at, 'log', *(json ? %w(--format=json) : []))
    end

    # One heartbeat. A quiet one prints nothing unless something failed.
    def beat(at, quiet: false)
      line(at, 'beat', *flag('quiet', quiet))
    end

    # The file of each template. It reads the whole configuration and asks no store: a test of presence.toml.
    def templates(at)
      line(at, 'templates')
    end

    # Succeeds if the program has this command.
    def help(at, command)
      [at.program, command, '--help']
    end

    # Renders a template to stdout, or into the file `output`.
    def render(at, template, output: nil, mode: nil, owner: nil, check: nil, reload: nil, variables: {}, vars_file: nil,
               min_nodes: nil, max_shrink: nil, max_age: nil, wait_for_nodes: nil, force: false, diff: false, part: nil,
               stacktype: nil, deployment: nil, template_dirs: [])
      line(at, 'render',
           *option('output', output), *option('mode', mode), *option('owner', owner),
           *option('check', words(check)), *option('reload', words(reload)),
           *variables.map { |key, value| "--set=#{key}=#{value}" }, *option('vars-file', vars_file),
           *option('min-nodes', min_nodes), *option('max-shrink', max_shrink), *option('max-age', max_age),
           *option('wait-for-nodes', wait_for_nodes),
           *flag('force', force), *flag('diff', diff),
           *option('part', part), *option('stacktype', stacktype), *option('deployment', deployment),
           *template_dirs.flat_map { |dir| option('template-dir', dir) },
           positional: template)
    end

    # The text of a command that presence is to run: a string as it is, an array quoted word by word.
    def words(command)
      command.is_a?(Array) ? Shellwords.join(command.map(&:to_s)) : command
    end

    # Words as a line for a shell, to be pasted into one.
    def quoted(words)
      words.map { |word| word.match?(%r{\A[A-Za-z0-9_./:=,@%+-]+\z}) ? word : "'#{word.gsub("'") { "'\\''" }}'" }.join(' ')
    end

    # @api private
    def line(at, command, *options, positional: nil)
      [at.program, *globals(at), command, *options, *(positional.nil? ? [] : ['--', positional.to_s])]
    end

    # Values are joined to their option with `=`, so that one which begins with a dash is still a value.
    def globals(at)
      option('config', at.config) + option('nodeinfo', at.nodeinfo) +
        (at.login? ? [] : Array(at.store)).flat_map { |url| option('store', url) } +
        option('folder', at.folder) + option('state-dir', at.state_dir)
    end

    def selectors(part, stacktype, deployment, states, where)
      option('part', part) + option('stacktype', stacktype) + option('deployment', deployment) +
        states.flat_map { |state| option('state', state) } +
        where.map { |fact, glob| "--where=#{fact}=#{glob}" }
    end

    def option(name, value)
      value.nil? ? [] : ["--#{name}=#{value}"]
    end

    def flag(name, wanted)
      wanted ? ["--#{name}"] : []
    end

    private_class_method :line, :globals, :selectors, :option, :flag
  end

  # A failure of presence. The message states what failed, where, and what to do next, in the program's own words.
  class Error < StandardError; end

  # There is no program.
  class Missing < Error; end

  # The program did not end within its time limit, and was ended.
  class TimedOut < Error; end

  # It failed, and changed nothing (exit code 1).
  class Failed < Error; end

  # The command line or presence.toml is wrong (exit code 2).
  class WrongUsage < Failed; end

  # The last good output was kept: no store could be read, or a safety limit refused the change (3).
  class Refused < Error; end

  # The check command refused the new file, and the old one stays (4).
  class CheckRefused < Error; end

  # The file is in place; its reload failed and is pending (5).
  class ReloadFailed < Error; end

  # The result of a command. `shown` is its name in messages.
  Outcome = Struct.new(:shown, :exitstatus, :stdout, :stderr) do
    def success?
      exitstatus == 0
    end

    def refused?
      exitstatus == 3
    end

    # The warnings of a command, which may have succeeded.
    def warnings
      stderr.lines.map(&:chomp).grep(/\Awarning: /).map { |line| line.delete_prefix('warning: ') }
    end

    def error
      kind = { 2 => WrongUsage, 3 => Refused, 4 => CheckRefused, 5 => ReloadFailed }.fetch(exitstatus, Failed)
      said = stderr.strip.empty? ? 'it printed no reason' : stderr.strip
      kind.new("`#{shown}` ended with exit code #{exitstatus}: #{said}")
    end
  end

  # Runs command lines: never through a shell, always with a time limit.
  module Run
    # In seconds. Longer than presence goes on trying to get a record into a busy store.
    TIME_LIMIT = 120

    # The folders that a `chef-client` under cron does not have in its PATH, and checks such as `haproxy -c` need.
    DEFAULT_PATH = %w(/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin).freeze

    module_function

    # Runs a command line, whatever its exit code. Messages show it with `environment`, for a shell, without secrets.
    def call(argv, timeout: TIME_LIMIT, cwd: '/', environment: {}, user: nil, secrets: [])
      # A single word would be a line for a shell.
      raise ArgumentError, 'a command line is an array of a program and its arguments' unless argv.is_a?(Array) && argv.length > 1

      shown = shown(argv, environment, secrets)
      everything = { 'PATH' => path.join(File::PATH_SEPARATOR) }.merge(home(user), environment)
      group = user && Etc.getpwnam(user).gid
      command = Mixlib::ShellOut.new(*argv, timeout: timeout, cwd: cwd, environment: everything, user: user, group: group)
      command.run_command
      Outcome.new(shown, command.exitstatus, text(command.stdout), Mask.secrets(text(command.stderr), secrets))
    rescue Errno::ENOENT, Errno::EACCES
      raise Missing, "there is no program `#{argv.first}` that can be run"
    rescue Mixlib::ShellOut::CommandTimeout
      raise TimedOut, "`#{shown}` did not end within #{timeout} seconds"
    end

    # The path of a program; nil if there is none.
    def which(program)
      return (program if runnable?(program)) if program.include?('/')

      path.map { |dir| File.join(dir, program) }.find { |file| runnable?(file) }
    end

    def shown(argv, environment, secrets)
      variables = environment.map { |name, value| "#{name}=#{Command.quoted([Mask.secrets(value, secrets)])}" }
      [*variables, Command.quoted(argv.map { |word| Mask.secrets(word, secrets) })].join(' ')
    end

    # Another user's program must not write into the home directory of this one.
    def home(user)
      user.nil? ? {} : { 'HOME' => Etc.getpwnam(user).dir, 'USER' => user, 'LOGNAME' => user }
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

    private_class_method :shown, :home, :path, :runnable?, :text
  end
end
