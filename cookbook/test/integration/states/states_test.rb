# frozen_string_literal: true

control 'states' do
  title 'Nodes are in the states that they were put in'

  { 'works' => 'done', 'drains' => 'draining', 'wedged' => 'wedged', 'parked' => 'drained' }.each do |id, state|
    describe json(command: "/usr/local/bin/presence --store /srv/presence/list show #{id} --format json") do
      its('state') { should eq state }
      its('statelog') { should match(/#{state}:\d{8}-\d{6};\z/) }
    end
  end

  describe file('/srv/presence/works/nodeinfo/rack.txt') do
    its('content') { should eq "r1\n" }
  end

  describe file('/srv/presence/list/unknown.json') do
    it { should_not exist }
  end
end
