# frozen_string_literal: true

RSpec.describe Presence::Settings do
  # The levels of attributes that users set; Ohai's own level is deliberately not among the methods.
  let(:attributes_class) do
    Struct.new(:defaults, :normals, :overrides) do
      def combined_default(*path)
        defaults.dig(*path)
      end

      def combined_override(*path)
        overrides.dig(*path)
      end

      def normal
        levels = normals
        Object.new.tap { |object| object.define_singleton_method(:read) { |*path| levels.dig(*path) } }
      end
    end
  end

  def attributes(defaults, normals = {}, overrides = {})
    attributes_class.new(*[defaults, normals, overrides].map { |level| { 'presence' => level } })
  end

  it 'takes the highest level that says something' do
    expect(described_class.read(attributes({ 'port' => 80 }), 'port')).to eq 80
    expect(described_class.read(attributes({ 'port' => 80 }, { 'port' => 81 }), 'port')).to eq 81
    expect(described_class.read(attributes({ 'port' => 80 }, { 'port' => 81 }, { 'port' => 82 }), 'port')).to eq 82
    expect(described_class.read(attributes({}), 'port')).to be_nil
    expect(described_class.read(attributes({ 'manage' => true }, {}, { 'manage' => false }), 'manage')).to be false
  end

  it 'merges the levels of a Hash' do
    levels = attributes({ 'haproxy' => { 'variables' => { 'a' => 1, 'b' => 1 } } }, {}, { 'haproxy' => { 'variables' => { 'b' => 2 } } })
    expect(described_class.read(levels, 'haproxy', 'variables')).to eq('a' => 1, 'b' => 2)
  end

  it 'gives a node with a state directory of its own a configuration and an agent of its own' do
    expect(described_class.config(attributes({}))).to eq '/etc/presence/presence.toml'
    expect(described_class.agent(attributes({}), 'web.1')).to eq 'presence'
    own = attributes({ 'state_dir' => '/srv/web' })
    expect(described_class.config(own)).to eq '/srv/web/presence.toml'
    expect(described_class.agent(own, 'web.1')).to eq 'presence-web-1'
    expect(described_class.config(attributes({ 'state_dir' => '/srv/web', 'config' => '/c.toml' }))).to eq '/c.toml'
  end

  it 'knows what to tell presence' do
    expect(described_class.connection(attributes({ 'store' => '/list' })).to_h.compact).to eq(program: 'presence', store: ['/list'])
  end
end
