# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe Chef::Recipe do
  include Support::Stubs

  let(:nodes) do
    [
      { 'instance-id' => 'app-b', 'nodepart' => 'app1', 'availability' => 'active', 'address' => '192.0.2.2' },
      { 'instance-id' => 'app-a', 'nodepart' => 'app1', 'availability' => 'active', 'address' => '192.0.2.1' },
      { 'instance-id' => 'app-c', 'nodepart' => 'app1', 'availability' => 'down', 'address' => '192.0.2.3' },
    ]
  end

  before do
    answer('emit', stdout: '{"value":{"stacktype":"lad1"}}')
    answer('list', stdout: JSON.generate('nodes' => nodes, 'stores' => []))
  end

  def recipe
    # Anything but a resource of this cookbook, so that only the helpers are at work.
    Chef::Recipe.new('presence', 'spec', chef_runner.converge_block {}.run_context)
  end

  it 'has the nodes of a part' do
    expect(recipe.presence_nodes(part: 'app*').map { |node| node['address'] }).to eq %w(192.0.2.1 192.0.2.2)
    expect(recipe.presence_nodes(part: 'app*', availability: :any).length).to eq 3
    expect(recipe.presence_first(part: 'app*')['instance-id']).to eq 'app-a'
    expect(recipe.presence_first(part: 'db*')).to be_nil
  end

  it 'has them in resources, during the converge' do
    run = chef_runner.converge_block do
      file '/upstreams' do
        content lazy { presence_nodes(part: 'app*').map { |node| node['address'] }.join(' ') }
      end
    end
    expect(run).to render_file('/upstreams').with_content('192.0.2.1 192.0.2.2')
  end

  it 'reads the list once, as the attributes say, and saves only counts' do
    chef_runner.node.default['presence']['store'] = '/list'
    found = recipe
    2.times { found.presence_nodes }
    expect(ran).to eq [%w(presence --store=/list emit), %w(presence --store=/list list --format=json --stacktype=lad1)]
    expect(chef_runner.node.automatic['presence_node'].to_h).to eq('parts' => { 'app1' => { 'active' => 2, 'down' => 1 } })
    expect(JSON.generate(chef_runner.node.to_hash)).not_to include('192.0.2.3')
  end

  it 'takes no error for an empty list' do
    answer('list', code: 3, stdout: '{"nodes":[],"stores":[{"files":null}]}', stderr: "error: no store could be read\n")
    expect { recipe.presence_nodes }.to raise_error(Presence::Refused, /no store could be read/)
  end

  it 'has no nodes in why-run before the program is installed' do
    allow(Presence::Run).to receive(:which).and_return(nil)
    found = recipe
    Chef::Config[:why_run] = true
    expect(found.presence_nodes).to eq []
  ensure
    Chef::Config[:why_run] = false
  end

  it 'has a configuration and an agent of its own for a node with a state directory of its own' do
    found = recipe
    expect([found.presence_config_file, found.presence_agent_name]).to eq %w(/etc/presence/presence.toml presence)
    chef_runner.node.default['presence']['state_dir'] = '/srv/web'
    expect([found.presence_config_file, found.presence_agent_name]).to eq %w(/srv/web/presence.toml presence-fauxhai-local)
    chef_runner.node.default['presence']['config'] = '/c.toml'
    expect(found.presence_config_file).to eq '/c.toml'
  end
end
