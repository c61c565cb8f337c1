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
    described_class.select(roster, **conditions).map { |node| node['instance-id'] }
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

  it 'finds nobody on a list that is not there' do
    expect(described_class.select(nil)).to eq []
  end
end
