# frozen_string_literal: true

# The states that a node can be put in, each on a node of its own.
include_recipe 'test::install'

fleet_node 'works' do
  part 'app1'
  facts 'rack' => 'r1', 'gone' => nil
end

fleet_node 'drains' do
  part 'app1'
  action %i(register drain)
end

fleet_node 'wedged' do
  part 'app1'
  action %i(register wedge)
end

fleet_node 'parked' do
  part 'app1'
  state 'drained'
end

# Nobody registered it: there is nothing to withdraw.
fleet_node 'unknown' do
  action :withdraw
end
