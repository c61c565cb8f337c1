# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: lb
#
# A load balancer: HAProxy, wired to the applications and kept so.

presence_suggest part: 'lb1', port: 80

include_recipe 'presence::default'

package 'haproxy'

# While an image is built, or in a container, there is nothing to start: the file is what counts.
managed = presence_setting('haproxy', 'manage_service')
managed = presence_systemd? if managed.nil?

haproxy = {
  template: 'haproxy',
  path: presence_setting('haproxy', 'config'),
  mode: '0644',
  # A warning is as good as an error: `-dW`.
  check: 'haproxy -dW -c -f {}',
  variables: {
    'user' => 'haproxy',
    'group' => 'haproxy',
    'stats_socket' => platform_family?('debian') ? '/run/haproxy/admin.sock' : '/var/lib/haproxy/stats',
  }.merge(presence_setting('haproxy', 'variables')),
}

presence_config haproxy[:path] do
  template haproxy[:template]
  mode haproxy[:mode]
  check haproxy[:check]
  variables haproxy[:variables]
  notifies :reload, 'service[haproxy]' if managed
end

service 'haproxy' do
  action %i(enable start)
  only_if { managed }
end

presence_agent Presence::Settings.agent(node.attributes, node.name) do
  targets [managed ? haproxy.merge(reload: 'systemctl reload haproxy') : haproxy]
end
