# frozen_string_literal: true

# The removal of everything.
include_recipe 'test::install'

fleet_node 'leaves' do
  part 'app1'
  action %i(register withdraw)
  not_if { ::File.exist?("#{Test::Fleet::ROOT}/leaves/nodeinfo") }
end

presence_agent 'presence' do
  action :delete
end

presence_credential 'ssh://git@git.example.net' do
  action :delete
end

presence_config '/etc/presence/database.yml' do
  action :delete
end
