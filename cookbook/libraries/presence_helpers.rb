# frozen_string_literal: true

module Presence
  # What recipes and resources can say.
  module Helpers
    # The nodes in scope that match, by instance-id, as Ohai read them. Only active ones, unless asked otherwise.
    #
    # The list is that of the converge: wrap a property's value in `lazy { … }`.
    #
    # @example
    #   presence_nodes(part: 'app*')
    #   presence_nodes(part: 'app*', availability: %w(active draining), rack: 'r1*')
    def presence_nodes(**conditions)
      Presence::OhaiPlugin.catch_up(node)
      Presence::Roster.select(node.read('presence', 'roster'), **conditions)
    end

    # The first of them, or nil.
    def presence_first(**conditions)
      presence_nodes(**conditions).first
    end

    # A setting of this cookbook: the attribute `node['presence'][…]`, without what Ohai found out.
    def presence_setting(*path)
      Presence::Settings.read(node.attributes, *path)
    end

    # Settings for a node that has none of its own.
    def presence_suggest(settings)
      settings.each do |key, value|
        node.default['presence'][key.to_s] = value if presence_setting(key.to_s).nil?
      end
    end

    # Whether services can be started and timers run. Neither can while an image is built, nor in most containers.
    def presence_systemd?
      ::File.directory?('/run/systemd/system')
    end
  end
end

# The specs load this file without Chef.
if defined?(Chef::DSL::Universal)
  Chef::DSL::Recipe.include(Presence::Helpers)
  Chef::Resource.include(Presence::Helpers)
end
