# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: lb
#
# A load balancer: HAProxy, with the applications as its servers.

node.default_unless['presence']['part'] = 'lb1'
node.default_unless['presence']['port'] = 80

include_recipe 'presence::default'

package 'haproxy'

# The template and the check `-dW` need it. EL 8, Ubuntu 20.04 and Amazon Linux 2 have an older one.
least = Gem::Version.new('2.2')

ruby_block 'the version of HAProxy' do
  block do
    raise "presence::lb: HAProxy #{presence_haproxy_version} is too old: the template `haproxy` needs #{least}. Install a newer package, " \
          'or render a template of your own with `presence_config`'
  end
  only_if { presence_haproxy_version&.<(least) }
end

settings = node['presence']['haproxy']

# While an image is built, and in most containers, nothing can be started: only the file matters.
managed = settings['manage_service']
managed = presence_systemd? if managed.nil?

haproxy = {
  template: 'haproxy',
  path: settings['config'],
  mode: '0644',
  # A warning is as good as an error: `-dW`.
  check: 'haproxy -dW -c -f {}',
  variables: {
    'user' => 'haproxy',
    'group' => 'haproxy',
    'stats_socket' => platform_family?('debian') ? '/run/haproxy/admin.sock' : '/var/lib/haproxy/stats',
  }.merge(settings['variables'].to_h),
}

presence_config haproxy[:path] do
  template haproxy[:template]
  mode haproxy[:mode]
  check haproxy[:check]
  variables haproxy[:variables]
  # The variables of this recipe are no secrets.
  sensitive presence_sensitive?(!settings['variables'].empty?)
  notifies :reload, 'service[haproxy]' if managed
end

service 'haproxy' do
  action %i(enable start)
  only_if { managed }
end

presence_agent presence_agent_name do
  targets [managed ? haproxy.merge(reload: 'systemctl reload haproxy') : haproxy]
end
