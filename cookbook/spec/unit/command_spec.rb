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

  it 'makes arrays of at least two words, so that no shell is ever asked' do
    expect(described_class.help(bare, 'beat')).to eq %w(presence beat --help)
  end
end
