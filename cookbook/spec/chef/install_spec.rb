# frozen_string_literal: true

require 'digest'
require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'presence_install' do
  include Support::Stubs

  step_into :presence_install

  let(:program) { File.join(scratch, 'a presence').tap { |file| File.write(file, 'program') } }
  let(:sum) { Digest::SHA256.hexdigest('program') }

  def converge(&settings)
    chef_runner.converge_block { presence_install('presence', &settings) }
  end

  it 'copies a binary, and not again if it is right' do
    file = program
    expect(converge { source file }).to create_remote_file('/usr/local/bin/presence').with(
      source: ["file://#{file.gsub(' ', '%20')}"], checksum: sum, mode: '0755'
    )
  end

  it 'leaves a binary that is where it shall be' do
    file = program
    run = converge do
      source file
      path file
    end
    expect(run).not_to create_remote_file(file)
  end

  it 'fetches a binary by its checksum' do
    url_sum = sum
    cached = nil
    run = converge do
      source 'https://example.net/presence-x86_64'
      checksum url_sum.upcase
      # What the remote_file, which ChefSpec does not run, would have fetched.
      cached = ::File.join(Chef::Config[:file_cache_path], "#{url_sum[0, 12]}-presence-x86_64")
      ::File.write(cached, 'program')
    end
    expect(run).to create_remote_file(cached).with(source: ['https://example.net/presence-x86_64'], checksum: sum, sensitive: true)
    expect(run).to create_remote_file('/usr/local/bin/presence').with(source: ["file://#{cached}"], checksum: sum)
  end

  it 'takes no program from a URL unseen' do
    expect { converge { source 'https://example.net/presence' } }.to raise_error(Presence::Error, /needs a `checksum`/)
  end

  it 'takes no file with another checksum' do
    file = program
    wrong = Digest::SHA256.hexdigest('other')
    failing = lambda do
      converge do
        source file
        checksum wrong
      end
    end
    expect(&failing).to raise_error(Presence::Error, /has the SHA-256 #{sum}, not #{wrong}/)
  end

  { 'deb' => :dpkg_package, 'rpm' => :rpm_package }.each do |ending, kind|
    it "installs a package: .#{ending}" do
      package = File.join(scratch, "presence_1.#{ending}")
      File.write(package, 'package')
      run = converge { source package }
      expect(run).to ChefSpec::Matchers::ResourceMatcher.new(kind, :upgrade, 'presence').with(source: package)
    end
  end

  it 'knows the kind by the path of a URL, not by its query' do
    url_sum = sum
    run = converge do
      source 'https://example.net/presence_0.1.0_amd64.deb?signature=hunter22&x=.rpm'
      checksum url_sum
      ::File.write(::File.join(Chef::Config[:file_cache_path], "#{url_sum[0, 12]}-presence_0.1.0_amd64.deb"), 'program')
    end
    expect(run).to ChefSpec::Matchers::ResourceMatcher.new(:dpkg_package, :upgrade, 'presence')
    expect(run).not_to create_remote_file('/usr/local/bin/presence')
    expect(run).to delete_file('/usr/local/bin/presence')
  end

  it 'takes the kind from its property' do
    file = program
    run = converge do
      source file
      kind :deb
    end
    expect(run).to ChefSpec::Matchers::ResourceMatcher.new(:dpkg_package, :upgrade, 'presence').with(source: file)
  end

  it 'puts no program in place that does not answer' do
    file = program
    converge { source file }
    verify = chef_runner.find_resource(:remote_file, '/usr/local/bin/presence').verify.first
    { [0, "presence 0.1.0\n"] => true, [0, "other 1.0\n"] => false, [127, ''] => false }.each do |(code, text), good|
      allow(Presence::Run).to receive(:call).and_return(Presence::Outcome.new('x', code, text, ''))
      expect(verify.verify(file)).to be(good), text
    end
    allow(Presence::Run).to receive(:call).and_raise(Presence::Missing)
    expect(verify.verify(file)).to be false
  end

  it 'says which file is missing' do
    expect { converge { source '/nowhere/presence.deb' } }.to raise_error(Presence::Error, %r{no file `/nowhere/presence.deb` on this node})
  end

  it 'installs by name and version from a repository' do
    run = converge { version '0.1.0-1' }
    expect(run).to install_package('presence').with(version: '0.1.0-1')
    expect(run).to delete_file('/usr/local/bin/presence')
    expect(converge).to install_package('presence').with(version: nil)
  end

  it 'removes no binary that the package may have put there' do
    run = converge { path '/usr/bin/presence' }
    expect(run).not_to delete_file('/usr/bin/presence')
  end

  it 'removes what it may have installed' do
    run = converge { action :remove }
    expect(run).to delete_file('/usr/local/bin/presence')
    expect(run).to remove_package('presence')
  end
end
