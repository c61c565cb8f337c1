# frozen_string_literal: true

RSpec.describe Presence::Record do
  def outcome(text, code = 0)
    Presence::Outcome.new('presence', code, text, '')
  end

  it 'compares what a node says with what the list says of it' do
    emitted = outcome('{"filetype":"nodepresence","value":{"instance-id":"a","port":"80","rack":"r1"}}')
    expect(described_class.listed?(emitted, outcome('{"instance-id":"a","port":80,"rack":"r1","found":{}}'))).to be true
    expect(described_class.listed?(emitted, outcome('{"instance-id":"a","port":80,"rack":"r2"}'))).to be false
    expect(described_class.listed?(emitted, outcome('', 1))).to be false
    expect(described_class.listed?(emitted, outcome('no JSON'))).to be false
  end
end
