# frozen_string_literal: true

control 'db' do
  title 'A database is on the list'

  describe command('/usr/local/bin/presence --store /srv/presence/list list --part "db*" --state active --format ids') do
    its('exit_status') { should eq 0 }
    its('stdout.lines.length') { should eq 1 }
  end

  describe file('/etc/presence/nodeinfo/port.txt') do
    its('content') { should eq "5432\n" }
    its('mode') { should cmp '0644' }
  end
end
