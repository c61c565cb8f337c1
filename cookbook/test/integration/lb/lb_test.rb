# frozen_string_literal: true

control 'lb' do
  title 'A balancer has the applications that it may use'

  describe file('/etc/haproxy/haproxy.cfg') do
    its('content') { should match(/^    server app-a 192\.0\.2\.10:8080 id \d+ check$/) }
    its('content') { should match(/^    server app-b 192\.0\.2\.11:8080 id \d+ check weight 0$/) }
  end

  describe command('haproxy -dW -c -f /etc/haproxy/haproxy.cfg') do
    its('exit_status') { should eq 0 }
  end
end

control 'lb-service' do
  title 'The balancer runs'
  only_if('systemd runs') { file('/run/systemd/system').directory? }

  describe service('haproxy') do
    it { should be_enabled }
    it { should be_running }
  end
end
