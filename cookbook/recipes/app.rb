# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: app
#
# An application server registers, and gets the configuration of its database.

node.default_unless['presence']['part'] = 'app1'
node.default_unless['presence']['port'] = 8080

include_recipe 'presence::default'

settings = node['presence']['database']
database = {
  template: settings['template'],
  path: settings['config'],
  owner: settings['owner'],
  mode: '0640',
  variables: settings['variables'].to_h,
  # The first application may be there before the first database.
  wait_for_nodes: 'db*',
}

directory ::File.dirname(database[:path]) do
  recursive true
end

presence_config database[:path] do
  template database[:template]
  owner database[:owner]
  mode database[:mode]
  variables database[:variables]
  wait_for_nodes database[:wait_for_nodes]
end

presence_agent presence_agent_name do
  targets [database]
end
