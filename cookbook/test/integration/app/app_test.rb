# frozen_string_literal: true

control 'app' do
  title 'An application has the address of its database'

  describe yaml('/etc/presence/database.yml') do
    its(%w(production host)) { should eq '192.0.2.20' }
    its(%w(production port)) { should eq 5432 }
  end

  describe file('/etc/presence/database.yml') do
    its('mode') { should cmp '0640' }
  end
end
