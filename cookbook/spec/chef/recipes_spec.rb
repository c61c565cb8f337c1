# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'the recipes' do
  include Support::Stubs

  # Converges a recipe on a node with these attributes.
  def converge(recipe, attributes = {})
    attributes.each { |key, value| chef_runner.node.override['presence'][key] = value }
    chef_runner.converge(recipe)
  end

  describe 'presence::default' do
    it 'installs and registers, and no more' do
      run = converge('presence::default', 'binary' => '/opt/presence', 'stacktype' => 'lad1', 'part' => 'app1', 'facts' => { 'rack' => 'r1' })
      expect(run).to install_presence_install('presence').with(source: '/opt/presence')
      expect(run).to register_presence_node('fauxhai.local').with(part: 'app1', stacktype: 'lad1', facts: { 'rack' => 'r1' }, port: nil)
      expect(run.resource_collection.map(&:declared_type)).to eq %i(presence_install presence_node)
    end

    it 'takes a program that is there already' do
      expect(converge('presence::default')).not_to install_presence_install('presence')
    end

    it 'prefers a package' do
      sum = 'a' * 64
      run = converge('presence::default', 'package' => 'https://example.net/presence.deb', 'checksum' => sum, 'binary' => '/opt/presence')
      expect(run).to install_presence_install('presence').with(source: 'https://example.net/presence.deb', checksum: sum)
    end

    it 'installs a version from a repository' do
      expect(converge('presence::default', 'version' => '0.1.0-1')).to install_presence_install('presence').with(source: nil, version: '0.1.0-1')
      next_run
      expect(converge('presence::default', 'version' => 'any')).to install_presence_install('presence').with(source: nil, version: nil)
    end

    it 'tells every resource where things are' do
      run = converge('presence::default', 'store' => '/list', 'nodeinfo' => '/n', 'state_dir' => '/s', 'folder' => 'f')
      expect(run).to register_presence_node('fauxhai.local').with(
        store: %w(/list), nodeinfo: '/n', state_dir: '/s', folder: 'f', config: '/s/presence.toml'
      )
    end
  end

  describe 'presence::db' do
    it 'registers a database' do
      run = converge('presence::db')
      expect(run).to register_presence_node('fauxhai.local').with(part: 'db1', port: '5432')
      expect(run).to create_presence_agent('presence').with(targets: [])
    end

    it 'takes what the attributes say' do
      run = converge('presence::db', 'part' => 'db2', 'port' => 5433, 'stacktype' => 'lad2')
      expect(run).to register_presence_node('fauxhai.local').with(part: 'db2', port: '5433', stacktype: 'lad2')
    end
  end

  describe 'presence::app' do
    it 'registers an application and gives it its database' do
      run = converge('presence::app', 'database' => { 'config' => '/srv/app/database.yml', 'owner' => 'app', 'variables' => { 'database' => 'x' } })
      expect(run).to register_presence_node('fauxhai.local').with(part: 'app1', port: '8080')
      expect(run).to create_presence_config('/srv/app/database.yml').with(
        template: 'database.yml', mode: '0640', owner: 'app', variables: { 'database' => 'x' }, wait_for_nodes: 'db*'
      )
      expect(run.presence_agent('presence').targets).to eq [
        { 'name' => 'database.yml', 'output' => '/srv/app/database.yml', 'mode' => '0640', 'owner' => 'app',
          'wait-for-nodes' => 'db*', 'vars' => { 'database' => 'x' } },
      ]
    end
  end

  describe 'presence::lb' do
    before { answer('-v', stdout: "HAProxy version 2.6.12-1 2023/12/16\n") }

    it 'refuses an HAProxy that is too old' do
      run = converge('presence::lb')
      expect(run).not_to run_ruby_block('the version of HAProxy')
      next_run
      answer('-v', stdout: "HA-Proxy version 1.8.27-493ce0b 2020/11/06\n")
      run = converge('presence::lb')
      expect(run).to run_ruby_block('the version of HAProxy')
      expect { run.ruby_block('the version of HAProxy').block.call }.to raise_error(/HAProxy 1.8 is too old.* needs 2.2/)
    end

    it 'installs HAProxy and wires it' do
      run = converge('presence::lb', 'haproxy' => { 'variables' => { 'check_path' => '/up' } })
      expect(run).to register_presence_node('fauxhai.local').with(part: 'lb1', port: '80')
      expect(run).to install_package('haproxy')
      expect(run).to create_presence_config('/etc/haproxy/haproxy.cfg').with(
        template: 'haproxy', check: 'haproxy -dW -c -f {}',
        variables: { 'user' => 'haproxy', 'group' => 'haproxy', 'stats_socket' => '/run/haproxy/admin.sock', 'check_path' => '/up' }
      )
    end

    it 'starts no service where none can be started' do
      run = converge('presence::lb')
      expect(run).not_to start_service('haproxy')
      expect(run.presence_agent('presence').targets.first).not_to have_key('reload')
    end

    context 'with systemd' do
      let(:systemd) { true }

      it 'reloads the service when the file changes' do
        run = converge('presence::lb')
        expect(run).to enable_service('haproxy')
        expect(run).to start_service('haproxy')
        expect(run.presence_config('/etc/haproxy/haproxy.cfg')).to notify('service[haproxy]').to(:reload).delayed
        expect(run.presence_agent('presence').targets.first).to include('reload' => 'systemctl reload haproxy')
      end

      it 'leaves the service to somebody else if it is told to' do
        expect(converge('presence::lb', 'haproxy' => { 'manage_service' => false })).not_to start_service('haproxy')
      end
    end
  end

  it 'gives several nodes of one machine an agent each' do
    run = converge('presence::app', 'state_dir' => '/srv/a')
    expect(run).to create_presence_agent('presence-fauxhai-local').with(config: '/srv/a/presence.toml')
  end
end
