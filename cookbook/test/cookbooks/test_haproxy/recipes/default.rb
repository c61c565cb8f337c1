# frozen_string_literal: true

# The public haproxy cookbook describes HAProxy, presence says who is there.
include_recipe 'test::install'

fleet_node 'app-a' do
  part 'app1'
  address '192.0.2.10'
  port 8080
end

fleet_node 'app-b' do
  part 'app1'
  address '2001:db8::11'
  port 8080
  action %i(register drain)
end

include_recipe 'presence::default'

haproxy_install 'package'

haproxy_config_global '' do
  log '/dev/log local0'
end

haproxy_config_defaults 'defaults' do
  mode 'http'
  timeout connect: '5s', client: '60s', server: '60s'
  option %w(redispatch idle-close-on-response)
end

haproxy_frontend 'http' do
  bind '*:80'
  default_backend 'apps'
end

haproxy_backend 'apps' do
  server(lazy do
    apps = presence_nodes(part: 'app*', availability: %w(active draining)).map do |app|
      # An IPv6 address wants brackets. A draining server keeps its clients, and gets no new ones.
      host = app['address'].include?(':') ? "[#{app['address']}]" : app['address']
      "#{app['instance-id']} #{host}:#{app['port']} check#{' weight 0' if app['availability'] == 'draining'}"
    end
    # The haproxy cookbook has no safety limit: without a server, the backend still has to be valid.
    apps.empty? ? ['nobody 127.0.0.1:9 disabled'] : apps
  end)
end

haproxy_service 'haproxy' do
  action presence_systemd? ? %i(create enable start) : %i(nothing)
end
