# frozen_string_literal: true

# Heartbeats by a systemd timer.
include_recipe 'test::install'
include_recipe 'presence::default'

presence_agent 'presence' do
  schedule :systemd
  targets [{ template: 'hosts', path: "#{Test::Fleet::ROOT}/hosts", mode: '0644' }]
end
