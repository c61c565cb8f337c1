# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'presence_node' do
  include Support::Stubs

  step_into :presence_node

  let(:nodeinfo) { File.join(scratch, 'nodeinfo').tap { |dir| FileUtils.mkdir_p(dir) } }
  let(:facts) { Presence::Nodeinfo.read(nodeinfo) }
  let(:unchanged) { "/list: fauxhai.local: unchanged\n" }

  before { answer('publish', stdout: unchanged) }

  # What `presence state` would do.
  def state_writes
    answer('state', stdout: "/list: fauxhai.local: joined\n") { |argv| write('state' => argv.last) }
  end

  def write(facts)
    facts.each { |fact, value| File.write(File.join(nodeinfo, "#{fact}.txt"), "#{value}\n") }
  end

  def converge(actions = :register, why_run: false, &settings)
    dir = nodeinfo
    chef_runner.converge_block do
      Chef::Config[:why_run] = why_run
      presence_node 'this' do
        nodeinfo dir
        instance_exec(&settings) if settings
        action actions
      end
    end
  ensure
    Chef::Config[:why_run] = false
  end

  def node_resource
    chef_runner.find_resource(:presence_node, 'this')
  end

  describe ':register' do
    it 'writes the facts, sets the first state, and reads the facts again' do
      state_writes
      expect(Presence::OhaiPlugin).to receive(:reload).once
      converge do
        part 'app1'
        stacktype 'lad1'
        deployment 'fed1'
        address '192.0.2.1'
        port 8080
        facts 'rack' => 'r1', 'cost-centre' => 7
      end
      expect(facts).to eq(
        'instance-id' => 'fauxhai.local', 'nodepart' => 'app1', 'stacktype' => 'lad1', 'deployment' => 'fed1', 'address' => '192.0.2.1',
        'port' => '8080', 'rack' => 'r1', 'cost-centre' => '7', 'state' => 'done'
      )
      expect(commands).to eq [%w(state -- done)]
      expect(node_resource).to be_updated
    end

    it 'is not updated if nothing changed, and reads nothing again' do
      write('instance-id' => 'i-1', 'nodepart' => 'app1', 'state' => 'done')
      Ohai.config[:plugin][:presence] = { program: 'presence', nodeinfo: nodeinfo, store: [] }
      expect(Presence::OhaiPlugin).not_to receive(:reload)
      converge { part 'app1' }
      expect(commands).to eq [%w(publish)]
      expect(node_resource).not_to be_updated
    end

    it 'is updated if a store did not have the record' do
      write('instance-id' => 'i-1', 'state' => 'done')
      answer('publish', stdout: "/a: i-1: unchanged\n/b: i-1: joined\n")
      converge
      expect(node_resource).to be_updated
    end

    it 'leaves alone what it was not told' do
      write('instance-id' => 'i-1', 'nodepart' => 'app1', 'rack' => 'r1', 'state' => 'done')
      converge { part nil }
      expect(facts).to include('nodepart' => 'app1', 'rack' => 'r1')
      expect(node_resource).not_to be_updated
    end

    it 'takes away a fact that is nil' do
      write('instance-id' => 'i-1', 'rack' => 'r1', 'state' => 'done')
      converge { facts 'rack' => nil }
      expect(facts).not_to have_key('rack')
      expect(node_resource).to be_updated
    end

    it 'does not undo what an operator did' do
      %w(draining drained wedged running).each do |state|
        write('instance-id' => 'i-1', 'state' => state)
        converge
        expect(commands.last).to eq %w(publish)
      end
    end

    it 'ends a setup' do
      %w(presetup setup).each do |state|
        write('instance-id' => 'i-1', 'state' => state)
        converge
        expect(commands.last).to eq %w(state -- done)
      end
    end

    it 'puts the node in the state that it is told' do
      write('instance-id' => 'i-1', 'state' => 'draining')
      converge { state 'running' }
      expect(commands.last).to eq %w(state -- running)
    end

    it 'fails when the program does' do
      write('instance-id' => 'i-1', 'state' => 'done')
      answer('publish', code: 1, stderr: "error: no store\n")
      expect { converge }.to raise_error(Presence::Failed, /no store/)
    end

    it 'refuses names and values that would lead elsewhere' do
      [{ '../x' => '1' }, { 'state' => 'done' }, { 'nodepart' => 'x' }].each do |facts|
        expect { converge { facts(facts) } }.to raise_error(Chef::Exceptions::ValidationFailed), facts.inspect
      end
      expect { converge { instance_id 'a b' } }.to raise_error Chef::Exceptions::ValidationFailed
    end

    it 'reads the facts again, quietly, if Ohai read them elsewhere' do
      write('instance-id' => 'i-1', 'state' => 'done')
      expect(Presence::OhaiPlugin).to receive(:reload).once
      converge
      expect(Ohai.config[:plugin][:presence]).to include(nodeinfo: nodeinfo)
      expect(node_resource).not_to be_updated
    end
  end

  describe ':drain, :wedge' do
    { drain: 'draining', wedge: 'wedged' }.each do |action, state|
      it "sets the state: #{action}" do
        write('instance-id' => 'i-1', 'state' => 'done')
        state_writes
        expect(Presence::OhaiPlugin).to receive(:reload).once
        converge(action)
        expect(commands).to eq [['state', '--', state]]
        expect(node_resource).to be_updated
      end

      it "does so once: #{action}" do
        write('instance-id' => 'i-1', 'state' => state)
        converge(action)
        expect(commands).to eq [%w(publish)]
        expect(node_resource).not_to be_updated
      end
    end

    it 'does not bring a drained node back to draining' do
      write('instance-id' => 'i-1', 'state' => 'drained')
      converge(:drain)
      expect(commands).to eq [%w(publish)]
    end

    it 'has nothing to do for a node that nobody registered' do
      FileUtils.rm_rf(nodeinfo)
      converge(%i(drain wedge withdraw))
      expect(commands).to eq []
      expect(node_resource).not_to be_updated
    end
  end

  describe ':withdraw' do
    before { write('instance-id' => 'i-1') }

    it 'takes the node off the list' do
      answer('withdraw', stdout: "/list: i-1: left\n")
      converge(:withdraw)
      expect(node_resource).to be_updated
    end

    it 'does so once' do
      answer('withdraw', stdout: "/list: i-1: not on the list\n")
      converge(:withdraw)
      expect(node_resource).not_to be_updated
    end
  end

  context 'in why-run' do
    it 'changes nothing' do
      converge(%i(register drain withdraw), why_run: true) { part 'app1' }
      expect(facts).to eq({})
      expect(commands.map(&:first) - %w(emit show)).to eq []
      expect(node_resource).to be_updated
    end

    it 'knows whether the record would be published' do
      write('instance-id' => 'i-1', 'state' => 'done')
      answer('emit', stdout: '{"value":{"instance-id":"i-1"}}')
      answer('show', stdout: '{"instance-id":"i-1"}')
      converge(why_run: true)
      expect(node_resource).not_to be_updated
      answer('show', code: 1)
      converge(why_run: true)
      expect(node_resource).to be_updated
    end
  end
end
