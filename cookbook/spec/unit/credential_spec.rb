# frozen_string_literal: true

RSpec.describe Presence::Credential do
  let(:agent) { "# Written by Chef\nquiet = true\n" }
  let(:git) { described_class.add(agent, 'ssh://git@git.example.net', ssh_key: '/k', known_hosts: '/h') }

  it 'adds a table to a configuration' do
    expect(git).to eq <<~TOML
      # Written by Chef
      quiet = true
      # presence_credential git-git.example.net-21b2787e: begin
      [[credential]]
      url = "ssh://git@git.example.net"
      ssh-key = "/k"
      known-hosts = "/h"
      # presence_credential git-git.example.net-21b2787e: end
    TOML
    expect(described_class.add('', 'https://h', token: '/t')).to start_with('# presence_credential h: begin')
  end

  it 'changes and removes only its own' do
    both = described_class.add(git, 'https://git.example.net/team', token: '/t')
    changed = described_class.add(both, 'ssh://git@git.example.net', ssh_key: '/other')
    expect(changed).to include('"/other"').and include('"/t"')
    expect(changed).not_to include('"/h"')
    expect(described_class.add(changed, 'ssh://git@git.example.net', ssh_key: '/other')).to eq changed
    expect(described_class.remove(described_class.remove(both, 'https://git.example.net/team'), 'ssh://git@git.example.net')).to eq agent
    expect(described_class.remove(agent, 'https://elsewhere')).to eq agent
  end

  it 'finds all tables of a configuration' do
    both = described_class.add(git, 'https://git.example.net/team', token: '/t')
    expect(agent + described_class.tables(both)).to eq both
    expect(described_class.tables(agent)).to eq ''
  end

  it 'has a folder for each URL' do
    urls = %w(ssh://git@h https://h https://h/a https://h/b ssh://git@h/a git@h:a)
    folders = urls.map { |url| described_class.folder(url) }
    expect(folders.uniq).to eq folders
    expect(folders).to all(match(Presence::Nodeinfo::INSTANCE_ID))
  end
end
