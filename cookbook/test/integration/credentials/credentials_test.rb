# frozen_string_literal: true

control 'credentials' do
  title 'Only the user that runs presence can read keys and logins'

  describe command('find /etc/presence/credentials -type f ! -perm 0600') do
    its('stdout') { should eq '' }
  end

  describe command('find /etc/presence/credentials -type f') do
    its('stdout.lines.length') { should eq 4 }
  end

  describe file('/etc/presence/presence.toml') do
    its('mode') { should cmp '0600' }
    its('content') { should match(/^ssh-key = /).and match(/^token-file = /).and match(/^login-file = /) }
    its('content') { should_not match(/hunter22/) }
  end

  describe command('/usr/local/bin/presence list') do
    its('exit_status') { should eq 0 }
  end
end
