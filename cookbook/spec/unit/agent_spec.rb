# frozen_string_literal: true

RSpec.describe Presence::Agent do
  it 'takes what a presence_config says' do
    target = described_class.target(
      template: 'haproxy', path: '/h.cfg', owner: 'root', group: 'haproxy', mode: '0640', check: %w(haproxy -c -f {}),
      reload: nil, variables: { 'a' => 1 }, min_nodes: 2
    )
    expect(target).to eq(
      'name' => 'haproxy', 'output' => '/h.cfg', 'owner' => 'root:haproxy', 'mode' => '0640',
      'check' => 'haproxy -c -f \{\}', 'min-nodes' => 2, 'vars' => { 'a' => 1 }
    )
    expect(described_class.target(target)).to eq target
  end

  it 'says what is wrong with a target' do
    { { name: 'x' } => /no `output`/, { output: '/x' } => /no `name`/, { name: 'x', output: '/x', chek: 'y' } => /no `chek`/,
      { name: 'x', output: '/x', group: 'g' } => /no `owner`/ }.each do |target, message|
      expect { described_class.target(target) }.to raise_error(ArgumentError, message)
    end
  end

  it 'says in presence.toml what flags would say' do
    at = Presence::Connection.new(nodeinfo: '/n', store: ['/a'], state_dir: '/s')
    expect(described_class.configuration(at, [], limits: { 'max-shrink' => 30 }, template_dir: '/t').compact).to eq(
      'nodeinfo' => '/n', 'store' => ['/a'], 'state-dir' => '/s', 'limits' => { 'max-shrink' => 30 }, 'template-dir' => '/t'
    )
  end
end
