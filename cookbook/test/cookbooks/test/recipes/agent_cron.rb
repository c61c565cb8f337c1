# frozen_string_literal: true

# Heartbeats by cron, for machines without systemd.
include_recipe 'test::install'
include_recipe 'presence::default'

presence_agent 'presence' do
  schedule :cron
  interval 300
  targets [{ template: 'hosts', path: "#{Test::Fleet::ROOT}/hosts", mode: '0644' }]
  settings 'limits' => { 'max-shrink' => 30 }
end
