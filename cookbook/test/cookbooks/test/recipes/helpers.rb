# frozen_string_literal: true

# A recipe that has its own idea of a configuration, and only wants to know who is there.
include_recipe 'test::install'

fleet_node 'app-a' do
  part 'app1'
  address '192.0.2.10'
  port 8080
end

fleet_node 'app-b' do
  part 'app1'
  address '192.0.2.11'
  port 8080
  action %i(register wedge)
end

include_recipe 'presence::default'

file "#{Test::Fleet::ROOT}/upstreams" do
  content lazy { presence_nodes(part: 'app*').map { |app| "#{app['instance-id']} #{app['address']}:#{app['port']}\n" }.join }
end
