# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: app
#
# An application server: it says where it is, and gets the config of its database.

presence_suggest part: 'app1', port: 8080

include_recipe 'presence::default'

database = {
  template: presence_setting('database', 'template'),
  path: presence_setting('database', 'config'),
  owner: presence_setting('database', 'owner'),
  mode: '0640',
  variables: presence_setting('database', 'variables'),
}

directory ::File.dirname(database[:path]) do
  recursive true
end

presence_config database[:path] do
  template database[:template]
  owner database[:owner]
  mode database[:mode]
  variables database[:variables]
  # The first application may be there before the first database.
  only_if { presence_first(part: 'db*') }
end

presence_agent Presence::Settings.agent(node.attributes, node.name) do
  targets [database]
end
