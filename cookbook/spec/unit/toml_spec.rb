# frozen_string_literal: true

RSpec.describe Presence::Toml do
  it 'writes values before tables, and arrays of tables' do
    text = described_class.dump(
      'limits' => { 'max-shrink' => 30 }, 'store' => ['/a', '/b'], 'nothing' => nil, 'quiet' => true,
      'render' => [{ 'name' => 'haproxy', 'vars' => { 'a b' => 1 } }, { 'name' => 'hosts' }]
    )
    expect(text).to eq <<~TOML
      store = ["/a", "/b"]
      quiet = true

      [limits]
      max-shrink = 30

      [[render]]
      name = "haproxy"

      [render.vars]
      "a b" = 1

      [[render]]
      name = "hosts"
    TOML
  end

  it 'escapes what would end a string' do
    expect(described_class.dump('x' => "a\"b\\c\nd\u007f\u0001é")).to eq %(x = "a\\"b\\\\c\\nd\\u007F\\u0001é"\n)
  end

  it 'refuses what TOML has no word for' do
    expect { described_class.dump('x' => [nil]) }.to raise_error(ArgumentError, /NilClass/)
    expect { described_class.dump('x' => Object) }.to raise_error ArgumentError
  end
end
