# frozen_string_literal: true

module Presence
  # The Ohai plugin, as seen from recipes: its settings, and how to run it again.
  #
  # Ohai runs before attributes are known, so what they say of stores and folders reaches the plugin only here.
  module OhaiPlugin
    # Under which key of `node.run_state` it stands that the plugin has its settings.
    CONFIGURED = 'presence_ohai_plugin'

    module_function

    # Gives the plugin these settings. True if it had others.
    def configure(node, connection)
      node.run_state[CONFIGURED] = true
      wanted = connection.to_h.compact
      known = ::Ohai.config[:plugin][:presence].to_h
      ::Ohai.config[:plugin][:presence] = known.merge(wanted)
      wanted != known.slice(*wanted.keys)
    end

    # Runs the plugin with what the attributes say, unless a `presence_node` has done better already.
    def catch_up(node)
      connection = Settings.connection(node.attributes)
      return if node.run_state.key?(CONFIGURED) || Run.which(connection.program).nil?

      reload(node) if configure(node, connection)
    end

    # Runs the plugin again, and puts what it finds in the place of what it had found.
    #
    # The resource `ohai` is of no use here. Up to Chef 18.9 it does not look where cookbooks' plugins are
    # (`Ohai::Exceptions::AttributeNotFound`); later ones do, and load them once more with each reload.
    def reload(node)
      path = ::Chef::Config[:ohai_segment_plugin_path]
      ::Ohai.config[:plugin_path] |= [path]
      system = ::Ohai::System.new
      system.all_plugins('presence')
      node.automatic_attrs.merge!(system.data)
    rescue ::Ohai::Exceptions::AttributeNotFound
      ::Chef::Log.warn("presence: Ohai has no plugin `presence` in #{path}; node['presence'] may be out of date")
    end
  end
end
