# frozen_string_literal: true

control 'away' do
  title 'The run went on, and the heartbeat is scheduled'

  describe file('/etc/presence/nodeinfo/state.txt') do
    its('content') { should eq "done\n" }
  end

  describe file('/etc/presence/presence.toml') do
    its('content') { should match(/wait-for-nodes = "db\*"/) }
  end

  describe file('/etc/presence/database.yml') do
    it { should_not exist }
  end
end
