# frozen_string_literal: true

RSpec.describe Presence::Agent do
  it 'says in presence.toml what flags would say' do
    at = Presence::Connection.new(nodeinfo: '/n', store: ['/a'], state_dir: '/s')
    expect(described_class.configuration(at, [], limits: { 'max-shrink' => 30 }, template_dir: '/t').compact).to eq(
      'nodeinfo' => '/n', 'store' => ['/a'], 'state-dir' => '/s', 'limits' => { 'max-shrink' => 30 }, 'template-dir' => '/t'
    )
  end

  it 'knows the minutes of cron' do
    expect({ 60 => '*', 300 => '*/5', 1800 => '*/30', 3600 => '0' }).to all(
      satisfy { |interval, minute| described_class.cron_minute(interval) == minute }
    )
    [0, 30, 90, 420, 7200].each { |interval| expect { described_class.cron_minute(interval) }.to raise_error(ArgumentError, /#{interval} seconds/) }
  end

  it 'gives every node its own share of the splay, always the same' do
    shares = (1..200).map { |number| described_class.share("node-#{number}", 30) }
    expect(shares).to all(be_between(0, 29))
    expect(shares.uniq.length).to be > 20
    expect(described_class.share('node-1', 30)).to eq shares.first
    expect(described_class.share('node-1', 0)).to eq 0
  end

  it 'writes a command that means the same to the shell of cron' do
    command = described_class.cron_command(['/opt/a b/presence', '--config=/100%/x', 'beat'], 7)
    expect(command).to start_with 'sleep 7; timeout -k 10 300 '
    expect(command.scan(/.?%/)).to eq ['\%']
    words = Shellwords.split(command.gsub('\%', '%').split('; ').last)
    expect(words.last(4)).to eq ['/opt/a b/presence', '--config=/100%/x', 'beat', '>/dev/null']
    expect(described_class.cron_command(%w(presence beat), 0, log: '/var/log/a b.log', nice: 10)).to eq(
      "nice -n 10 timeout -k 10 300 presence beat >>'/var/log/a b.log' 2>&1"
    )
  end

  it 'writes a service that means the same to systemd' do
    unit = described_class.service_unit(['/opt/a b/presence', '--config=/100%/$x"\\', 'beat'])
    expect(unit['Service']['ExecStart']).to eq '"/opt/a b/presence" "--config=/100%%/$$x\\"\\\\" beat'
    expect(described_class.service_unit(%w(/usr/bin/presence beat))['Service']).to include('ExecStart' => '/usr/bin/presence beat', 'Type' => 'oneshot')
    unit = described_class.service_unit(%w(presence beat), user: 'presence', nice: 5, environment_file: '/e', log: '/l')
    expect(unit['Service']).to include(
      'User' => 'presence', 'Nice' => 5, 'EnvironmentFile' => '/e', 'StandardOutput' => 'append:/l', 'StandardError' => 'append:/l'
    )
  end

  it 'writes a timer with interval and splay' do
    expect(described_class.timer_unit(60, 30, '5min')['Timer']).to include('OnUnitActiveSec' => 60, 'RandomizedDelaySec' => 30, 'OnBootSec' => '5min')
  end
end
