# frozen_string_literal: true

control 'helpers' do
  title 'A recipe knows who is there'

  describe file('/srv/presence/upstreams') do
    its('content') { should eq "app-a 192.0.2.10:8080\n" }
  end
end
