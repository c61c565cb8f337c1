# frozen_string_literal: true

control 'agent_systemd' do
  title 'A timer beats'

  describe service('presence.timer') do
    it { should be_enabled }
    it { should be_running }
  end

  describe command('/usr/local/bin/presence beat') do
    its('exit_status') { should eq 0 }
  end

  describe file('/srv/presence/hosts') do
    it { should exist }
  end
end
