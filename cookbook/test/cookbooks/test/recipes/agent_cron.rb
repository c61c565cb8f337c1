# frozen_string_literal: true

# Heartbeats by cron, for machines without systemd.
include_recipe 'test::install'
include_recipe 'presence::default'

package value_for_platform_family(debian: 'cron', default: 'cronie')

presence_agent 'presence' do
  schedule :cron
  interval 300
  targets [{ template: 'hosts', path: "#{Test::Fleet::ROOT}/hosts", mode: '0644' }]
  settings 'limits' => { 'max-shrink' => 30 }
end
