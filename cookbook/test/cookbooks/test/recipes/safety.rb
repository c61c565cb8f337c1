# frozen_string_literal: true

# Whatever goes wrong, the file that was there stays.
include_recipe 'test::install'

fleet_node 'app-a' do
  part 'app1'
  address '192.0.2.10'
  port 8080
end

%w(refused checked).each do |name|
  file "#{Test::Fleet::ROOT}/#{name}.cfg" do
    content "good\n"
  end
end

presence_config "#{Test::Fleet::ROOT}/refused.cfg" do
  template 'haproxy'
  min_nodes 2
end

presence_config "#{Test::Fleet::ROOT}/checked.cfg" do
  template 'haproxy'
  check %w(grep -q nothing-like-it {})
  ignore_failure true
end

# A file that presence does write tells those who asked.
presence_config "#{Test::Fleet::ROOT}/rendered.cfg" do
  template 'haproxy'
  variables 'maxconn' => 123
  mode '0640'
  notifies :create, 'file[told]', :immediately
end

file 'told' do
  path "#{Test::Fleet::ROOT}/told"
  content "yes\n"
  action :nothing
end
