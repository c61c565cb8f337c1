# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe Chef::Recipe do
  include Support::Stubs

  let(:roster) do
    {
      'app1' => [
        { 'instance-id' => 'app-b', 'nodepart' => 'app1', 'availability' => 'active', 'address' => '192.0.2.2' },
        { 'instance-id' => 'app-a', 'nodepart' => 'app1', 'availability' => 'active', 'address' => '192.0.2.1' },
        { 'instance-id' => 'app-c', 'nodepart' => 'app1', 'availability' => 'down', 'address' => '192.0.2.3' },
      ],
    }
  end

  before { chef_runner.node.automatic['presence'] = { 'roster' => roster } }

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

  context 'when only attributes know where the list is' do
    it 'has Ohai read it, once' do
      expect(Presence::OhaiPlugin).to receive(:reload).once
      chef_runner.node.default['presence']['store'] = '/list'
      found = recipe
      2.times { found.presence_nodes }
      expect(Ohai.config[:plugin][:presence]).to include(store: %w(/list))
    end
  end
end
