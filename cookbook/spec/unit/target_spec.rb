# frozen_string_literal: true

RSpec.describe Presence::Target do
  let(:file) { File.join(scratch, 'x.cfg') }

  it 'takes what a presence_config says' do
    target = described_class.table(
      template: 'haproxy', path: '/h.cfg', owner: 'root', group: 'haproxy', mode: '0640', check: %w(haproxy -c -f {}),
      reload: nil, variables: { 'a' => 1 }, min_nodes: 2
    )
    expect(target).to eq(
      'name' => 'haproxy', 'output' => '/h.cfg', 'owner' => 'root:haproxy', 'mode' => '0640',
      'check' => 'haproxy -c -f \{\}', 'min-nodes' => 2, 'vars' => { 'a' => 1 }
    )
    expect(described_class.table(target)).to eq target
  end

  it 'says what is wrong with a target' do
    { { name: 'x' } => /no `output`/, { output: '/x' } => /no `name`/, { name: 'x', output: '/x', chek: 'y' } => /no `chek`/,
      { name: 'x', output: '/x', group: 'g' } => /no `owner`/ }.each do |target, message|
      expect { described_class.table(target) }.to raise_error(ArgumentError, message)
    end
  end

  it 'sees a file as people call it' do
    expect(described_class.look(file)).to be_nil
    File.write(file, "a\n")
    File.chmod(0o640, file)
    seen = described_class.look(file)
    expect(seen).to have_attributes(content: "a\n", mode: '0640', owner: Etc.getpwuid(Process.euid).name)
    expect(described_class.look(file)).to eq seen
    File.chmod(0o600, file)
    expect(described_class.moves(seen, described_class.look(file))).to eq ['  set mode to 0600 (was 0640)']
  end

  it 'leaves what is no file to presence' do
    File.symlink('/etc/passwd', file)
    expect(described_class.look(file)).to be_nil
    expect(described_class.look("#{file}/below")).to be_nil
  end

  it 'writes modes and owners in one way' do
    expect([0o644, '644', '0644'].map { |mode| described_class.mode(mode) }.uniq).to eq ['0644']
    expect(described_class.mode('rw')).to eq 'rw'
    expect(described_class.user(0)).to eq 'root'
    expect(described_class.user('0')).to eq 'root'
    expect(described_class.user('nobody-here')).to eq 'nobody-here'
    expect(described_class.group(4_000_000)).to eq '4000000'
  end
end
