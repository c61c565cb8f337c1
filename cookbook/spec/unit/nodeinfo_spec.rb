# frozen_string_literal: true

RSpec.describe Presence::Nodeinfo do
  let(:dir) { scratch }

  def write(name, content)
    File.write(File.join(dir, name), content)
  end

  it 'reads every .txt as a fact' do
    write('nodepart.txt', "  app1 \r\n\n")
    write('.hidden.txt', 'x')
    write('notes.md', 'x')
    expect(described_class.read(dir)).to eq('nodepart' => 'app1')
    expect(described_class.read(File.join(dir, 'missing'))).to eq({})
  end

  it 'writes only what is not right yet, and takes away what is nil' do
    write('right.txt', 'x')
    write('gone.txt', 'x')
    described_class.change(dir, { 'right' => 'x', 'new' => 'ü', 'gone' => nil, 'never' => nil }, 'n1')
    expect(described_class.read(dir)).to eq('right' => 'x', 'new' => 'ü')
    expect(File.read(File.join(dir, 'right.txt'))).to eq 'x'
    expect(File.stat(File.join(dir, 'new.txt')).mode & 0o777).to eq 0o644
  end

  it 'replaces a link instead of following it' do
    File.write(File.join(dir, 'precious'), 'x')
    File.symlink(File.join(dir, 'precious'), File.join(dir, 'rack.txt'))
    described_class.change(dir, { 'rack' => 'r1' }, 'n1')
    expect(File.read(File.join(dir, 'precious'))).to eq 'x'
    expect(File.symlink?(File.join(dir, 'rack.txt'))).to be false
  end

  it 'refuses names that would lead elsewhere' do
    ['../x', '.x', '', 'a/b', "a\nb"].each do |name|
      expect { described_class.change(dir, { name => 'x' }, 'n1') }.to raise_error(ArgumentError), name.inspect
    end
  end

  describe '.instance_id' do
    it "is made from the node's name" do
      expect(described_class.instance_id(dir, 'web-1.example.net')).to eq 'web-1.example.net'
    end

    it 'stays what somebody wrote' do
      write('instance-id.txt', 'i-c44e9b33')
      expect(described_class.instance_id(dir, 'web-1')).to eq 'i-c44e9b33'
    end

    it 'stays what this node wrote' do
      described_class.change(dir, { 'instance-id' => 'i-7' }, 'web-1')
      expect(described_class.instance_id(dir, 'web-1')).to eq 'i-7'
    end

    it 'does not stay what another node wrote, of which this one is a copy' do
      described_class.change(dir, { 'instance-id' => 'golden' }, 'golden')
      expect(described_class.instance_id(dir, 'web-1')).to eq 'web-1'
    end
  end

  describe '.id_from' do
    it 'always makes a usable id, and never the same one of two names' do
      names = ['a', 'a b', 'a_b', 'a-b', 'a:b', ':a', '-a', 'ü', 'x' * 64, 'x' * 65, "#{'x' * 65}y", '...']
      ids = names.map { |name| described_class.id_from(name) }
      expect(ids).to all(match(described_class::INSTANCE_ID))
      expect(ids.uniq).to eq ids
      expect(ids.first(1)).to eq ['a']
    end
  end

  describe 'a node that gets another id' do
    def give(id, node_name = 'web-1')
      described_class.change(dir, { 'instance-id' => id }, node_name)
    end

    it 'remembers the one that it leaves, until that is withdrawn' do
      %w(a b c).each { |id| give(id) }
      expect(described_class.former(dir)).to eq %w(a b)
      described_class.withdrawn(dir, 'a')
      expect(described_class.former(dir)).to eq %w(b)
      described_class.withdrawn(dir, 'b')
      expect(described_class.former(dir)).to eq []
      expect(Dir.children(dir)).not_to include('.chef-former')
    end

    it 'does not withdraw the one that it has again' do
      %w(a b a).each { |id| give(id) }
      expect(described_class.former(dir)).to eq %w(b)
    end

    it 'leaves alone an id that it did not write' do
      write('instance-id.txt', 'i-c44e9b33')
      give('a')
      expect(described_class.former(dir)).to eq []
      give('golden', 'golden')
      give('b')
      expect(described_class.former(dir)).to eq []
    end

    it 'is not published under it yet' do
      give('a')
      expect(described_class.published?(dir)).to be false
      described_class.published(dir)
      expect(described_class.published?(dir)).to be true
      give('b')
      expect(described_class.published?(dir)).to be false
      described_class.published(dir)
      described_class.unpublished(dir)
      expect(described_class.published?(dir)).to be false
    end
  end

  it 'tells a folder that presence does without from one that must be there' do
    expect(described_class.usable?(dir)).to be true
    expect(described_class.usable?('/nowhere')).to be false
    expect(described_class.missing_default?('/nowhere')).to be false
  end
end

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
