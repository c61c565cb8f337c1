# frozen_string_literal: true

control 'safety' do
  title 'What was refused left the old file'

  %w(refused checked).each do |name|
    describe file("/srv/presence/#{name}.cfg") do
      its('content') { should eq "good\n" }
    end
  end

  describe file('/srv/presence/rendered.cfg') do
    its('content') { should match(/^    maxconn 123$/) }
    its('mode') { should cmp '0640' }
  end

  describe file('/srv/presence/told') do
    it { should exist }
  end
end
