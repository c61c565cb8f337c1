# frozen_string_literal: true

# A balancer finds two applications: one that works, and one that is drained.
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
  action %i(register drain)
end

include_recipe 'presence::lb'
