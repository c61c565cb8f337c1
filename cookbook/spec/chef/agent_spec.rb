# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

require 'tomlrb'

RSpec.describe 'presence_agent' do
  include Support::Stubs

  step_into :presence_agent

  def converge(&settings)
    chef_runner.converge_block { presence_agent('presence', &settings) }
  end

  it 'writes the configuration' do
    run = converge do
      schedule :none
      store %w(/a /b)
      state_dir '/s'
      nodeinfo '/n'
      targets [{ template: 'haproxy', path: '/h.cfg', check: 'haproxy -c -f {}', variables: { 'maxconn' => 100 } }]
      settings 'limits' => { 'max-shrink' => 30 }
    end
    expect(run).to(render_file('/etc/presence/presence.toml').with_content do |text|
      expect(Tomlrb.parse(text)).to eq(
        'nodeinfo' => '/n', 'store' => %w(/a /b), 'state-dir' => '/s', 'limits' => { 'max-shrink' => 30 },
        'render' => [{ 'name' => 'haproxy', 'output' => '/h.cfg', 'check' => 'haproxy -c -f {}', 'vars' => { 'maxconn' => 100 } }]
      )
    end)
    expect(run).to create_template('/etc/presence/presence.toml').with(mode: '0600', sensitive: true)
    expect(run).not_to create_cron_d('presence')
    expect(run).to delete_cron_d('presence')
  end

  context 'without systemd' do
    it 'has cron beat' do
      run = converge do
        interval 300
        splay 0
      end
      expect(run).to create_cron_d('presence').with(
        minute: '*/5',
        command: 'timeout -k 10 300 /usr/bin/presence --config=/etc/presence/presence.toml beat --quiet >/dev/null',
        mode: '0600', sensitive: true,
        path: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
      )
      expect(run).not_to create_systemd_unit('presence.timer')
    end

    it 'writes units if it is told to, and starts nothing' do
      run = converge { schedule :systemd }
      expect(run).to create_systemd_unit('presence.timer').with(triggers_reload: false)
      expect(run).to enable_systemd_unit('presence.timer')
      expect(run).not_to start_systemd_unit('presence.timer')
    end
  end

  context 'with systemd' do
    let(:systemd) { true }

    it 'has a timer beat' do
      run = converge
      expect(run).to create_systemd_unit('presence.service')
      expect(run).to create_systemd_unit('presence.timer')
      expect(run).to enable_systemd_unit('presence.timer')
      expect(run).to start_systemd_unit('presence.timer')
      expect(run).to delete_cron_d('presence')
      service = chef_runner.find_resource(:systemd_unit, 'presence.service').content
      expect(service['Service']['ExecStart']).to eq '/usr/bin/presence --config=/etc/presence/presence.toml beat --quiet'
      timer = chef_runner.find_resource(:systemd_unit, 'presence.timer').content
      expect(timer['Timer']).to include('OnUnitActiveSec' => 60, 'RandomizedDelaySec' => 30)
    end
  end

  it 'takes the schedule from the attributes' do
    chef_runner.node.default['presence']['schedule'] = 'none'
    run = chef_runner.converge_block { presence_agent 'presence' }
    expect(run).not_to create_cron_d('presence')
  end

  it 'schedules nothing, and says so, with a program that knows no heartbeat' do
    answer('beat', code: 2, stderr: "error: unrecognized subcommand 'beat'\n")
    expect(Chef::Log).to receive(:warn).with(/no `beat` yet/)
    expect(converge).not_to create_cron_d('presence')
  end

  it 'has what other scheduled programs have: cron' do
    run = converge do
      schedule :cron
      user 'presence'
      nice 10
      mailto 'ops@example.net'
      log '/var/log/presence.log'
      splay 0
      environment 'PRESENCE_GIT_TOKEN' => 'hunter22'
    end
    expect(run).to create_cron_d('presence').with(
      user: 'presence', mailto: 'ops@example.net', environment: { 'PRESENCE_GIT_TOKEN' => 'hunter22' }, mode: '0600',
      command: 'nice -n 10 timeout -k 10 300 /usr/bin/presence --config=/etc/presence/presence.toml beat >>/var/log/presence.log 2>&1'
    )
    expect(run).to create_template('/etc/presence/presence.toml').with(owner: 'presence')
  end

  it 'has what other scheduled programs have: systemd' do
    run = converge do
      schedule :systemd
      user 'presence'
      nice 10
      log '/var/log/presence.log'
      delay_after_boot '2min'
      environment 'PRESENCE_GIT_TOKEN' => 'hun"ter22'
    end
    service = chef_runner.find_resource(:systemd_unit, 'presence.service').content
    expect(service['Service']).to include('User' => 'presence', 'Nice' => 10, 'EnvironmentFile' => '/etc/presence/presence.env')
    expect(service.to_s).not_to include('ter22')
    expect(run).to create_file('/etc/presence/presence.env').with(
      content: %(PRESENCE_GIT_TOKEN="hun\\"ter22"\n), mode: '0600', sensitive: true
    )
    expect(chef_runner.find_resource(:systemd_unit, 'presence.timer').content['Timer']).to include('OnBootSec' => '2min')
  end

  it 'lets a group read the configuration, and nobody else' do
    run = converge do
      schedule :none
      group 'ops'
    end
    expect(run).to create_template('/etc/presence/presence.toml').with(group: 'ops', mode: '0640')
  end

  it 'shows the content if the attributes say so' do
    chef_runner.node.default['presence']['sensitive'] = false
    run = chef_runner.converge_block { presence_agent('presence') { schedule :none } }
    expect(run).to create_template('/etc/presence/presence.toml').with(sensitive: false)
  end

  context 'without cron' do
    let(:cron) { false }

    it 'installs it: nothing else runs /etc/cron.d' do
      run = converge
      expect(run).to install_package('cron')
      expect(run).to create_cron_d('presence')
      expect(run).not_to start_service('cron')
    end
  end

  it 'leaves alone a cron that is there' do
    expect(converge).not_to install_package('cron')
  end

  it 'puts no configuration in place that the program does not understand' do
    answer('templates', code: 2, stderr: "error: unknown field\n")
    converge { schedule :none }
    verify = chef_runner.find_resource(:template, '/etc/presence/presence.toml').verify.first
    expect(verify.verify('/tmp/presence.toml')).to be false
    answer('templates', code: 0)
    expect(verify.verify('/tmp/presence.toml')).to be true
    expect(ran.last).to eq %w(presence --config=/tmp/presence.toml templates)
  end

  it 'refuses a target that is none' do
    expect { converge { targets [{ template: 'x' }] } }.to raise_error(ArgumentError, /no `output`/)
  end

  it 'takes everything away' do
    run = converge { action :delete }
    expect(run).to delete_file('/etc/presence/presence.toml')
    expect(run).to delete_cron_d('presence')
  end
end
