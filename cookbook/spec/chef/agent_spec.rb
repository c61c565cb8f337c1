# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

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
    expect(run).to render_file('/etc/presence/presence.toml').with_content(<<~TOML)
      nodeinfo = "/n"
      store = ["/a", "/b"]
      state-dir = "/s"

      [limits]
      max-shrink = 30

      [[render]]
      name = "haproxy"
      output = "/h.cfg"
      check = "haproxy -c -f {}"

      [render.vars]
      maxconn = 100
    TOML
    expect(run).not_to create_cron_d('presence')
    expect(run).to delete_cron_d('presence')
  end

  context 'without systemd' do
    it 'has cron beat' do
      run = converge do
        interval 300
        jitter 0
      end
      expect(run).to create_cron_d('presence').with(
        minute: '*/5',
        command: 'timeout -k 10 300 /usr/bin/presence --config\=/etc/presence/presence.toml beat >/dev/null',
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
      expect(service['Service']['ExecStart']).to eq '/usr/bin/presence --config=/etc/presence/presence.toml beat'
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

  it 'beats without targets, and says so, with a program that knows none' do
    answer('templates', code: 2, stderr: "error: unknown field `render`, expected one of `store`\n")
    expect(Chef::Log).to receive(:warn).with(/keeps no files up to date yet/)
    run = converge { targets [{ template: 'hosts', path: '/hosts' }] }
    expect(run).to create_cron_d('presence')
    expect(run).to(render_file('/etc/presence/presence.toml').with_content { |text| expect(text).not_to include('render') })
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
