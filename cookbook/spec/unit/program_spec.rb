# frozen_string_literal: true

RSpec.describe Presence::Command do
  let(:bare) { Presence::Connection.new(program: 'presence') }

  it 'says nothing of what nobody said' do
    expect(described_class.emit(bare)).to eq %w(presence emit)
    expect(described_class.list(bare)).to eq %w(presence list --format=json)
    expect(described_class.render(bare, 'haproxy')).to eq %w(presence render -- haproxy)
  end

  it 'gives every command the settings of the node, each store by itself' do
    at = Presence::Connection.new(
      program: '/opt/presence', config: '/c.toml', nodeinfo: '/n', store: %w(/a /b), folder: 'f', state_dir: '/s'
    )
    expect(described_class.publish(at)).to eq(
      %w(/opt/presence --config=/c.toml --nodeinfo=/n --store=/a --store=/b --folder=f --state-dir=/s publish)
    )
  end

  it 'keeps what begins with a dash a value' do
    expect(described_class.state(bare, '-x')).to eq ['presence', 'state', '--', '-x']
    expect(described_class.list(bare, part: '--help')).to include('--part=--help')
  end

  it 'quotes the words of a command that presence is to run' do
    argv = described_class.render(bare, 'x', check: ['grep', '-q', "it's $HOME", '{}'], reload: 'service x reload')
    expect(Shellwords.split(argv.grep(/^--check=/).first.delete_prefix('--check='))).to eq ['grep', '-q', "it's $HOME", '{}']
    expect(argv).to include('--reload=service x reload')
  end

  it 'keeps variables off the command line' do
    expect(described_class.render(bare, 'x', vars_file: '/tmp/v.json')).to eq %w(presence render --vars-file=/tmp/v.json -- x)
  end

  it 'makes arrays of at least two words, so that no shell is ever asked' do
    expect(described_class.help(bare, 'beat')).to eq %w(presence beat --help)
  end
end

RSpec.describe Presence::Run do
  it 'never asks a shell' do
    expect(run(['echo', '$HOME; exit 1', '*']).stdout).to eq "$HOME; exit 1 *\n"
    expect { described_class.call('echo x') }.to raise_error ArgumentError
    expect { described_class.call(['echo x']) }.to raise_error ArgumentError
  end

  it 'ends what does not end by itself' do
    expect { described_class.call(%w(sleep 60), timeout: 1) }.to raise_error(Presence::TimedOut, /`sleep 60` did not end within 1 seconds/)
  end

  it 'says which program is missing' do
    expect { described_class.call(%w(/nowhere/presence emit)) }.to raise_error(Presence::Missing, %r{/nowhere/presence})
    expect(described_class.which('/nowhere/presence')).to be_nil
    expect(described_class.which('sh')).to match(%r{/sh\z})
  end

  it 'finds programs where cron does not look' do
    path = run(%w(printenv PATH)).stdout.split(':').map(&:chomp)
    expect(path).to include('/usr/local/bin', '/usr/sbin')
  end

  {
    1 => Presence::Failed, 2 => Presence::WrongUsage, 3 => Presence::Refused, 4 => Presence::CheckRefused, 5 => Presence::ReloadFailed
  }.each do |code, kind|
    it "knows what the exit code #{code} means" do
      outcome = run(['sh', '-c', "echo 'error: so it is' >&2; exit #{code}"])
      expect(outcome).not_to be_success
      expect(outcome.refused?).to be(code == 3)
      expect(outcome.error).to be_a(kind).and have_attributes(message: /exit code #{code}: error: so it is/)
    end
  end

  it 'hands on warnings' do
    outcome = run(['sh', '-c', 'echo "warning: one store is down" >&2; echo note >&2'])
    expect(outcome.warnings).to eq ['one store is down']
  end

  it 'reads UTF-8, and survives what is none' do
    expect(run(['printf', '\303\274\377']).stdout).to eq "ü\u{fffd}"
  end

  it 'shows no secret, neither of the command line nor of the program' do
    outcome = described_class.call(['sh', '-c', 'echo "error: line 3: hunter22 is wrong" >&2; exit 4'], secrets: %w(hunter22))
    expect(outcome.error.message).to include('line 3: *** is wrong').and include('exit 4')
    outcome = described_class.call(%w(false --set=password=hunter22), secrets: %w(hunter22))
    expect(outcome.error.message).to include('--set=password=***')
  end

  it 'passes stores with a login in the environment, and shows them without' do
    at = Presence::Connection.new(program: 'printenv', store: ['https://deploy:hun,ter22@git.example.net/list.git', '/b'])
    expect(Presence::Command.publish(at)).to eq %w(printenv publish)
    outcome = described_class.call(%w(printenv PRESENCE_STORE), environment: at.environment)
    expect(outcome.stdout).to eq "https://deploy:hun%2Cter22@git.example.net/list.git,/b\n"
    expect(outcome.shown).to eq "PRESENCE_STORE='https://***@git.example.net/list.git,/b' printenv PRESENCE_STORE"
  end

  it 'runs a program as another user, in its group and home' do
    skip 'only root can' unless Process.euid == 0
    outcome = described_class.call(['sh', '-c', 'id -un; id -g; echo "$HOME"'], user: 'nobody')
    nobody = Etc.getpwnam('nobody')
    expect(outcome.stdout.lines.map(&:chomp)).to eq ['nobody', nobody.gid.to_s, nobody.dir]
  end

  it 'shows command lines that a shell takes as they are' do
    words = ['printf', '%s|', "it's", 'a b', '*', '$HOME', '--x=1', '']
    outcome = described_class.call(words)
    expect(described_class.call(['sh', '-c', outcome.shown]).stdout).to eq outcome.stdout
  end
end

RSpec.describe Presence::Mask do
  {
    'https://user:secret@git.example.net/list.git' => 'https://***@git.example.net/list.git',
    'https://secret@git.example.net/list.git' => 'https://***@git.example.net/list.git',
    'http://user:se/cr@et@git.example.net/x' => 'http://***@git.example.net/x',
    'ssh://git@git.example.net/srv/list.git' => 'ssh://git@git.example.net/srv/list.git',
    'ssh://git:secret@git.example.net/x' => 'ssh://git:***@git.example.net/x',
    'git@git.example.net:list.git' => 'git@git.example.net:list.git',
    'https://files.example.net/presence.deb?signature=secret' => 'https://files.example.net/presence.deb?***',
    'see `https://a:secret@h/x`, or https://b:secret@h/y' => 'see `https://***@h/x`, or https://***@h/y',
  }.each do |text, shown|
    it "shows #{shown}" do
      expect(described_class.urls(text)).to eq shown
    end
  end

  it 'hides secrets, the longest first, and no short words' do
    expect(described_class.secrets('app hunter22 hunter2', %w(app hunter2 hunter22))).to eq 'app *** ***'
  end
end
