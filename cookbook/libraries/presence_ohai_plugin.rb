# frozen_string_literal: true

module Presence
  # The Ohai plugin, as seen from recipes: its settings, and how to run it again.
  module OhaiPlugin
    module_function

    # Gives the plugin these settings. True if it had others.
    def configure(connection)
      wanted = connection.to_h.compact
      known = ::Ohai.config[:plugin][:presence].to_h
      return false if wanted == known.slice(*wanted.keys)

      ::Ohai.config[:plugin][:presence] = known.merge(wanted)
      true
    end

    # What `ohai 'presence' { action :reload }` does, for a node whose facts did not change: no resource is updated.
    def reload(node)
      path = ::Chef::Config[:ohai_segment_plugin_path]
      ::Ohai.config[:plugin_path] << path unless ::Ohai.config[:plugin_path].include?(path)
      system = ::Ohai::System.new
      system.all_plugins('presence')
      node.automatic_attrs.merge!(system.data)
    rescue ::Ohai::Exceptions::AttributeNotFound
      ::Chef::Log.warn("presence: Ohai has no plugin `presence` in #{path}; node['presence'] may be out of date")
    end
  end
end
