# frozen_string_literal: true

module Presence
  # The settings of a node: the attributes below `node['presence']`, as users set them.
  #
  # Ohai keeps this node's record under the same name, as automatic attributes, which outrank every other level: what a
  # node once said of its `port` or `stacktype` would for ever hide what its attributes say now. So the automatic level
  # is passed over here.
  module Settings
    # Where presence looks for its configuration if nobody says otherwise.
    CONFIG = '/etc/presence/presence.toml'

    module_function

    # @param attributes [Chef::Node::Attribute] `node.attributes`
    def read(attributes, *path)
      path = ['presence', *path]
      values = [
        attributes.combined_default(*path), attributes.normal.read(*path), attributes.combined_override(*path)
      ].compact
      values.all?(Hash) && values.any? ? values.map(&:to_h).reduce(:merge) : values.last
    end

    # Where the configuration is. A node with a state directory of its own is not the only one on its machine, so it
    # has a configuration of its own beside it.
    def config(attributes)
      named = read(attributes, 'config')
      state_dir = read(attributes, 'state_dir')
      named || (state_dir && File.join(state_dir, 'presence.toml')) || CONFIG
    end

    # What they say of where things are. What they do not say is left to presence.
    def connection(attributes)
      file = config(attributes)
      stores = Array(read(attributes, 'store'))
      Connection.new(
        program: 'presence',
        config: (file if File.exist?(file)),
        nodeinfo: read(attributes, 'nodeinfo'),
        store: stores.empty? ? nil : stores,
        folder: read(attributes, 'folder'),
        state_dir: read(attributes, 'state_dir')
      )
    end

    # What the timer, or the file in `/etc/cron.d`, is called: one for each configuration of the machine.
    def agent(attributes, node_name)
      config(attributes) == CONFIG ? 'presence' : "presence-#{Nodeinfo.id_from(node_name).tr('.', '-')}"
    end
  end
end
