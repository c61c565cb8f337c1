# frozen_string_literal: true

control 'upgrade' do
  title 'The program is still presence'

  describe command('/usr/local/bin/presence --version') do
    its('stdout') { should match(/\Apresence \d/) }
  end
end
