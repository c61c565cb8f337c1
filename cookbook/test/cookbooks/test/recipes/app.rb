# frozen_string_literal: true

# An application finds the database that was there before it.
include_recipe 'test::install'

fleet_node 'db-a' do
  part 'db1'
  address '192.0.2.20'
  port 5432
end

include_recipe 'presence::app'
