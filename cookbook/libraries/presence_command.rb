# frozen_string_literal: true

# Every command line that the cookbook and the knife plugin run is made here, and nowhere else, as an array of words
# that no shell ever sees. The specs run each of them against the real program.

require 'shellwords' unless defined?(Shellwords)

module Presence
  # What every command is told: which program to run, and where facts, list and memories are. What is nil is left to
  # presence itself: its environment, its presence.toml, its defaults.
  Connection = Struct.new(:program, :config, :nodeinfo, :store, :folder, :state_dir, keyword_init: true)

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

    # Takes this node off the list.
    def withdraw(at)
      line(at, 'withdraw')
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

    # The fleet's history, in words.
    def log(at)
      line(at, 'log')
    end

    # One heartbeat.
    def beat(at)
      line(at, 'beat')
    end

    # Which file each template's name means. It reads the whole configuration and asks no store: a test of presence.toml.
    def templates(at)
      line(at, 'templates')
    end

    # Succeeds if the program has this command.
    def help(at, command)
      [at.program, command, '--help']
    end

    # Renders a template to stdout, or into the file `output`.
    def render(at, template, output: nil, mode: nil, owner: nil, check: nil, reload: nil, variables: {}, min_nodes: nil,
               max_shrink: nil, max_age: nil, force: false, diff: false, part: nil, stacktype: nil, deployment: nil,
               template_dirs: [])
      line(at, 'render',
           *option('output', output), *option('mode', mode), *option('owner', owner),
           *option('check', words(check)), *option('reload', words(reload)),
           *variables.map { |key, value| "--set=#{key}=#{value}" },
           *option('min-nodes', min_nodes), *option('max-shrink', max_shrink), *option('max-age', max_age),
           *flag('force', force), *flag('diff', diff),
           *option('part', part), *option('stacktype', stacktype), *option('deployment', deployment),
           *template_dirs.flat_map { |dir| option('template-dir', dir) },
           positional: template)
    end

    # The text of a command that presence is to run: a string as it is, an array quoted word by word.
    def words(command)
      command.is_a?(Array) ? Shellwords.join(command.map(&:to_s)) : command
    end

    # @api private
    def line(at, command, *options, positional: nil)
      [at.program, *globals(at), command, *options, *(positional.nil? ? [] : ['--', positional.to_s])]
    end

    # Values are joined to their option with `=`, so that one which begins with a dash is still a value.
    def globals(at)
      option('config', at.config) + option('nodeinfo', at.nodeinfo) +
        Array(at.store).flat_map { |url| option('store', url) } +
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
end
