# frozen_string_literal: true

control 'package' do
  title 'The package is installed, and no binary hides it'
  only_if('a repository is configured') { package('presence').installed? }

  describe command('presence --version') do
    its('stdout') { should match(/\Apresence \d/) }
  end

  describe file('/usr/local/bin/presence') do
    it { should_not exist }
  end
end
