# frozen_string_literal: true

control 'haproxy_cookbook' do
  title 'The public haproxy cookbook has its servers from the list'

  describe file('/etc/haproxy/haproxy.cfg') do
    its('content') { should match(/^  server app-a 192\.0\.2\.10:8080 check$/) }
    its('content') { should match(/^  server app-b \[2001:db8::11\]:8080 check weight 0$/) }
  end

  describe command('haproxy -c -f /etc/haproxy/haproxy.cfg') do
    its('exit_status') { should eq 0 }
  end
end
