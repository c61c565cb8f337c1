# frozen_string_literal: true

control 'agent_cron' do
  title 'Cron beats'

  describe file('/etc/cron.d/presence') do
    its('content') { should match(%r{^\*/5 \* \* \* \* root .*timeout -k 10 300 /usr/local/bin/presence .*beat --quiet >/dev/null$}) }
  end

  describe command('/usr/local/bin/presence beat') do
    its('exit_status') { should eq 0 }
  end

  describe file('/srv/presence/hosts') do
    it { should exist }
  end
end
