# frozen_string_literal: true

require 'json' unless defined?(JSON)

module Presence
  # The nodes in scope: those of this node's stacktype and deployment, as `presence list --format=json` has them.
  module Roster
    # The facts that limit the scope. A node that does not state one is not limited by it.
    SCOPE = %i(stacktype deployment).freeze

    # More parts than this are counted together. The counts are saved with the node, which a Chef server limits to 1 MB.
    MOST_PARTS = 100

    module_function

    # Reads the list. The block runs a command line and returns its outcome. No readable store and no earlier copy is an
    # error, and never an empty list.
    def read(connection)
      emitted = yield Command.emit(connection)
      raise emitted.error unless emitted.success?

      facts = JSON.parse(emitted.stdout).fetch('value')
      listed = yield Command.list(connection, **scope(facts))
      raise listed.error unless listed.success? || listed.refused?

      list = JSON.parse(listed.stdout)
      raise listed.error if listed.refused? && list.fetch('stores').all? { |store| store['files'].nil? }

      list.fetch('nodes')
    rescue JSON::ParserError, KeyError => e
      raise Failed, "`#{connection.program}` did not print the list as JSON: #{e.message.lines.first.to_s.strip}"
    end

    # The nodes that match every condition, by instance-id. Conditions are globs over facts; `availability` is one of
    # active, draining, down and absent, several of them, or :any.
    def select(nodes, part: nil, availability: 'active', **facts)
      wanted = availability == :any ? nil : Array(availability).map(&:to_s)
      conditions = facts.merge(nodepart: part).compact
      nodes.sort_by { |node| node['instance-id'] }.select do |node|
        (wanted.nil? || wanted.include?(node['availability'])) &&
          conditions.all? { |fact, glob| matches?(node[fact.to_s] || node[fact.to_s.tr('_', '-')], glob) }
      end
    end

    # How many nodes of each part there are, by availability. The Ohai plugin counts in the same way.
    def counts(nodes)
      parts = nodes.group_by { |node| node.fetch('nodepart', '-') }.sort
      rest = parts.drop(MOST_PARTS).flat_map(&:last)
      parts = parts.first(MOST_PARTS).to_h.transform_values { |members| tally(members) }
      rest.empty? ? parts : parts.merge('*' => tally(rest))
    end

    # The selectors of the scope. A fact is a text, a selector a glob.
    def scope(facts)
      SCOPE.to_h { |fact| [fact, facts[fact.to_s].to_s.gsub(/[\[\]*?]/) { |character| "[#{character}]" }] }
           .reject { |_, value| value.empty? }
    end

    def tally(nodes)
      nodes.map { |node| node['availability'] }.tally.sort.to_h
    end

    # A glob as presence has it: `*` and `?` match any character, a leading dot too.
    def matches?(value, glob)
      !value.nil? && File.fnmatch?(glob.to_s, value.to_s, File::FNM_DOTMATCH)
    end

    private_class_method :scope, :tally, :matches?
  end

  # Methods for recipes and for the properties of all resources.
  module Helpers
    # The nodes in scope that match, by instance-id. Only active ones, unless asked otherwise.
    #
    # The first call of a run reads the list. Later calls use the same list, until a `presence_node` of this run changes
    # it. The list is not saved with the node. Wrap a property's value in `lazy { … }`: before the converge, the first
    # run of a node has no program.
    #
    # @example
    #   presence_nodes(part: 'app*')
    #   presence_nodes(part: 'app*', availability: %w(active draining), rack: 'r1*')
    def presence_nodes(**conditions)
      at = presence_connection
      # In why-run, the program may be one that an earlier resource would have installed.
      return [] if Chef::Config[:why_run] && Presence::Run.which(at.program).nil?

      known = (node.run_state['presence_roster'] ||= {})
      known[at] ||= Presence::Roster.read(at) do |argv|
        outcome = Presence::Run.call(argv, environment: at.environment, user: at.user)
        outcome.warnings.each { |warning| Chef::Log.warn("presence_nodes: #{warning}") }
        outcome
      end
      node.automatic['presence_node']['parts'] = Presence::Roster.counts(known[at])
      Presence::Roster.select(known[at], **conditions)
    end

    # The first of them, or nil.
    def presence_first(**conditions)
      presence_nodes(**conditions).first
    end

    # The settings of every command, as the attributes state them.
    def presence_connection
      stores = Array(node.read('presence', 'store')).map(&:to_s)
      file = presence_config_file
      Presence::Connection.new(
        program: 'presence',
        user: node.read('presence', 'user'),
        config: (file if ::File.exist?(file)),
        nodeinfo: node.read('presence', 'nodeinfo'),
        store: stores.empty? ? nil : stores,
        folder: node.read('presence', 'folder'),
        state_dir: node.read('presence', 'state_dir')
      )
    end

    # The path of presence.toml. A node with a state directory of its own may share its machine with others, so its
    # configuration is in that directory.
    def presence_config_file
      state_dir = node.read('presence', 'state_dir')
      node.read('presence', 'config') ||
        (state_dir ? ::File.join(state_dir, 'presence.toml') : '/etc/presence/presence.toml')
    end

    # The name of the timer, or of the file in `/etc/cron.d`: one for each configuration of the machine.
    def presence_agent_name
      return 'presence' if presence_config_file == '/etc/presence/presence.toml'

      "presence-#{Presence::Nodeinfo.id_from(node.name).tr('.', '-')}"
    end

    # Whether a resource is sensitive, by the attribute or else by its own rule.
    def presence_sensitive?(rule)
      chosen = node.read('presence', 'sensitive')
      chosen.nil? ? rule : chosen
    end

    # The version of the installed HAProxy; nil if there is none.
    def presence_haproxy_version
      return if Presence::Run.which('haproxy').nil?

      version = Presence::Run.call(%w(haproxy -v), timeout: 30).stdout[/version (\d+\.\d+)/i, 1]
      version && Gem::Version.new(version)
    end

    # Whether services can be started and timers run. Neither works while an image is built, nor in most containers.
    def presence_systemd?
      ::File.directory?('/run/systemd/system')
    end
  end

  # Methods that the actions of the resources share.
  module Acting
    # Why-run must not fail for anything that an earlier resource of the same run would have made.
    def presence_can_run?
      !Presence::Run.which(new_resource.program).nil? && Presence::Nodeinfo.usable?(new_resource.nodeinfo)
    end

    def presence_at
      Presence::Connection.new(
        program: new_resource.program,
        user: new_resource.user,
        config: (new_resource.config if ::File.exist?(new_resource.config)),
        # A folder that is named must be there; the usual one need not.
        nodeinfo: (new_resource.nodeinfo unless Presence::Nodeinfo.missing_default?(new_resource.nodeinfo)),
        store: new_resource.store.empty? ? nil : new_resource.store,
        folder: new_resource.folder,
        state_dir: new_resource.state_dir
      )
    end

    # Runs a command line and logs its warnings.
    def presence_run(argv, secrets: [])
      outcome = Presence::Run.call(
        argv, timeout: new_resource.timeout, environment: presence_at.environment, user: new_resource.user, secrets: secrets
      )
      # The error of a failed command has its warnings, too.
      outcome.warnings.each { |warning| Chef::Log.warn("#{new_resource}: #{warning}") } if outcome.success?
      outcome
    rescue Presence::Missing => e
      raise Presence::Missing, "#{e.message}; `presence_install` installs it"
    end

    # Runs a command line that must succeed.
    def presence_run!(argv)
      outcome = presence_run(argv)
      raise outcome.error unless outcome.success?

      outcome
    end
  end
end

# The specs load this file without Chef.
if defined?(Chef::DSL::Universal)
  Chef::DSL::Recipe.include(Presence::Helpers)
  Chef::Resource.include(Presence::Helpers)
end
