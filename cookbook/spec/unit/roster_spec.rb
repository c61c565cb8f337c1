# frozen_string_literal: true

RSpec.describe Presence::Roster do
  let(:roster) do
    {
      'db1' => [{ 'instance-id' => 'd', 'nodepart' => 'db1', 'availability' => 'active' }],
      'app1' => [
        { 'instance-id' => 'b', 'nodepart' => 'app1', 'availability' => 'active', 'rack' => 'r2', 'port' => 8080 },
        { 'instance-id' => 'a', 'nodepart' => 'app1', 'availability' => 'active', 'rack' => 'r1', 'check-path' => '/up' },
        { 'instance-id' => 'c', 'nodepart' => 'app1', 'availability' => 'draining', 'rack' => '.r' },
      ],
    }
  end

  def ids(**conditions)
    described_class.select(roster.values.flatten, **conditions).map { |node| node['instance-id'] }
  end

  it 'takes the active nodes, by instance-id' do
    expect(ids).to eq %w(a b d)
    expect(ids(part: 'app*')).to eq %w(a b)
    expect(ids(part: 'app')).to eq []
  end

  it 'takes others if asked' do
    expect(ids(part: 'app*', availability: :draining)).to eq %w(c)
    expect(ids(part: 'app*', availability: %w(active draining))).to eq %w(a b c)
    expect(ids(availability: :any)).to eq %w(a b c d)
  end

  it 'matches any fact by a glob' do
    expect(ids(rack: 'r*')).to eq %w(a b)
    expect(ids(rack: '*', availability: :any)).to eq %w(a b c)
    expect(ids(port: '80??')).to eq %w(b)
    expect(ids(check_path: '/*')).to eq %w(a)
    expect(ids('check-path' => '/up')).to eq %w(a)
  end

  it 'counts by part and availability' do
    expect(described_class.counts(roster.values.flatten)).to eq('app1' => { 'active' => 2, 'draining' => 1 }, 'db1' => { 'active' => 1 })
    many = (1..150).map { |number| { 'nodepart' => format('p%03d', number), 'availability' => 'active' } }
    expect(described_class.counts(many).to_a.last(2)).to eq [['p100', { 'active' => 1 }], ['*', { 'active' => 50 }]]
  end

  describe '.read' do
    let(:at) { Presence::Connection.new(program: 'presence') }

    def outcome(code, text)
      Presence::Outcome.new('presence', code, text, "error: so it is\n")
    end

    # Reads the list of a program that answers these.
    def read(emit, list)
      ran = []
      nodes = described_class.read(at) do |argv|
        ran << argv
        argv.include?('emit') ? emit : list
      end
      [nodes, ran.last]
    end

    let(:emit) { outcome(0, '{"value":{"stacktype":"l*","deployment":""}}') }

    it 'asks for the scope, and takes no fact for a pattern' do
      nodes, argv = read(emit, outcome(0, '{"nodes":[{"instance-id":"a"}],"stores":[]}'))
      expect(nodes).to eq [{ 'instance-id' => 'a' }]
      expect(argv).to eq %w(presence list --format=json --stacktype=l[*])
    end

    it 'takes an earlier copy, but no error for an empty list' do
      copy = outcome(3, '{"nodes":[],"stores":[{"answers":false,"files":4}]}')
      expect(read(emit, copy).first).to eq []
      none = outcome(3, '{"nodes":[],"stores":[{"answers":false,"files":null}]}')
      expect { read(emit, none) }.to raise_error(Presence::Refused, /so it is/)
      expect { read(outcome(1, ''), none) }.to raise_error(Presence::Failed, /so it is/)
      expect { read(emit, outcome(0, 'no JSON')) }.to raise_error(Presence::Failed, /did not print the list/)
    end
  end
end
