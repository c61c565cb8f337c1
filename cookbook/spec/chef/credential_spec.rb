# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'presence_credential' do
  include Support::Stubs

  step_into :presence_credential, :presence_agent

  let(:config) { File.join(scratch, 'presence.toml') }
  let(:folder) { File.join(scratch, 'credentials', Presence::Credential.folder('ssh://git@git.example.net')) }

  def converge(url = 'ssh://git@git.example.net', &settings)
    file = config
    chef_runner.converge_block do
      presence_credential url do
        config file
        instance_exec(&settings)
      end
    end
  end

  it 'writes key and host keys for the user that runs presence, and names them' do
    run = converge do
      ssh_key "-----BEGIN KEY-----\nhunter22"
      known_hosts ['git.example.net ssh-ed25519 AAAA', "git.example.net ssh-rsa BBBB\n"]
      user 'presence'
      group 'ops'
    end
    expect(run).to create_file(File.join(folder, 'ssh-key')).with(
      content: "-----BEGIN KEY-----\nhunter22\n", mode: '0600', owner: 'presence', group: nil, sensitive: true
    )
    expect(run).to create_file(File.join(folder, 'known-hosts')).with(
      content: "git.example.net ssh-ed25519 AAAA\ngit.example.net ssh-rsa BBBB\n", mode: '0640', owner: 'presence', group: 'ops'
    )
    expect(run).to delete_file(File.join(folder, 'token-file'))
    expect(run).to create_file(config).with(mode: '0640', owner: 'presence', sensitive: true)
    expect(run).to render_file(config).with_content(%(ssh-key = "#{folder}/ssh-key"))
    expect(run.presence_credential('ssh://git@git.example.net').to_text).not_to include('hunter22')
  end

  it 'writes a token or a login' do
    { token: 'hunter22', login: 'deploy:hunter22' }.each do |property, secret|
      next_run
      run = converge('https://git.example.net') { public_send(property, secret) }
      path = File.join(scratch, 'credentials', Presence::Credential.folder('https://git.example.net'), "#{property}-file")
      expect(run).to create_file(path).with(content: "#{secret}\n", mode: '0600')
      expect(run).to(render_file(config).with_content { |text| expect(text).not_to include('hunter22') })
    end
  end

  it 'leaves the rest of a configuration alone, and its mode' do
    File.write(config, "store = '/list'\n")
    run = converge { ssh_key 'x' }
    expect(run).to create_file(config).with(mode: nil)
    expect(run).to render_file(config).with_content(%r{\Astore = '/list'\n# presence_credential})
  end

  it 'refuses a credential without a secret, and a login that is none' do
    expect { converge {} }.to raise_error(Presence::Error, /`ssh_key`, `known_hosts`, `token` or `login` is required/)
    expect { converge { login 'hunter22' } }.to raise_error(Chef::Exceptions::ValidationFailed)
  end

  it 'takes everything away' do
    File.write(config, Presence::Credential.add("store = '/list'\n", 'ssh://git@git.example.net', ssh_key: '/k'))
    run = converge { action :delete }
    expect(run).to delete_directory(folder).with(recursive: true)
    expect(run).to render_file(config).with_content(/\Astore = '.list'\n\z/)
  end

  it 'survives the agent, which writes the rest of the file' do
    File.write(config, Presence::Credential.add("old = 1\n", 'ssh://git@git.example.net', ssh_key: '/k'))
    file = config
    run = chef_runner.converge_block do
      presence_agent 'presence' do
        config file
        schedule :none
        store '/list'
      end
    end
    expect(run).to(render_file(config).with_content do |text|
      expect(text).to include('store = ["/list"]').and include('ssh-key = "/k"')
      expect(text).not_to include('old')
    end)
  end
end
