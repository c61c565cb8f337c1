# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'presence_node' do
  include Support::Stubs

  step_into :presence_node

  let(:nodeinfo) { File.join(scratch, 'nodeinfo').tap { |dir| FileUtils.mkdir_p(dir) } }
  let(:facts) { Presence::Nodeinfo.read(nodeinfo) }
  let(:unchanged) { "/list: fauxhai.local: unchanged\n" }

  before do
    answer('publish', stdout: unchanged)
    answer('emit', stdout: '{"value":{"instance-id":"i-1"}}')
  end

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

  # Every command line but `emit`, which only reads this node.
  def commands
    super.reject { |words| words == %w(emit) }
  end

  def node_resource
    chef_runner.find_resource(:presence_node, 'this')
  end

  describe ':register' do
    it 'writes the facts, and sets the first state' do
      state_writes
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

    it 'is not updated if nothing changed' do
      write('instance-id' => 'i-1', 'nodepart' => 'app1', 'state' => 'done')
      converge { part 'app1' }
      expect(commands).to eq [%w(publish)]
      expect(node_resource).not_to be_updated
    end

    it 'refuses the name that Chef has for no environment' do
      expect { converge { deployment '_default' } }.to raise_error(Chef::Exceptions::ValidationFailed, /state the deployment/)
    end

    it "saves this node's record, and has later helpers read the list again" do
      write('instance-id' => 'i-1', 'state' => 'done')
      chef_runner.node.default['presence']['nodeinfo'] = nodeinfo
      chef_runner.node.run_state['presence_roster'] = {}
      answer('emit', stdout: '{"value":{"instance-id":"i-1","port":"80"}}')
      answer('publish', stdout: "/list: i-1: joined\n")
      converge
      expect(chef_runner.node['presence_node']['record']).to eq('instance-id' => 'i-1', 'port' => '80')
      expect(chef_runner.node.run_state).not_to have_key('presence_roster')
    end

    describe 'if no store takes the record' do
      before do
        write('instance-id' => 'i-1', 'state' => 'done')
        answer('publish', code: 1, stderr: "error: no store\n")
      end

      it 'fails for a node that was never published' do
        expect { converge }.to raise_error(Presence::Failed, /no store/)
      end

      it 'warns for one that was' do
        answer('publish', stdout: unchanged)
        converge
        next_run
        answer('publish', code: 1, stderr: "error: no store\n")
        expect(Chef::Log).to receive(:warn).with(/no store/)
        converge
        expect(node_resource).not_to be_updated
        next_run
        expect { converge { on_failure :raise } }.to raise_error(Presence::Failed, /no store/)
      end

      it 'warns for one that has heartbeats' do
        dir = nodeinfo
        expect(Chef::Log).to receive(:warn).with(/no store/)
        chef_runner.converge_block do
          presence_node('this') { nodeinfo dir }
          presence_agent 'presence'
        end
        next_run
        failing = lambda do
          chef_runner.converge_block do
            presence_node('this') { nodeinfo dir }
            presence_agent('presence') { schedule :none }
          end
        end
        expect(&failing).to raise_error(Presence::Failed, /no store/)
      end

      it 'does as the attributes say' do
        chef_runner.node.default['presence']['on_failure'] = 'warn'
        expect(Chef::Log).to receive(:warn).with(/no store/)
        converge
      end

      it 'fails for a record that cannot be made, whatever the recipe says' do
        answer('emit', code: 1, stderr: "error: a bad fact\n")
        expect { converge { on_failure :warn } }.to raise_error(Presence::Failed, /no store/)
      end

      it 'fails for a wrong configuration, whatever the recipe says' do
        answer('publish', code: 2, stderr: "error: unknown field\n")
        expect { converge { on_failure :warn } }.to raise_error(Presence::WrongUsage, /unknown field/)
      end

      it 'fails for a state that is unknown, and not for one that waits for its store' do
        answer('state', code: 1, stderr: "error: no such state\n")
        expect { converge { state('parked'); on_failure :warn } }.to raise_error(Presence::Failed, /no such state/) # rubocop:disable Style/Semicolon
        next_run
        answer('state', code: 1, stderr: "error: no store\n") { |argv| write('state' => argv.last) }
        expect(Chef::Log).to receive(:warn).with(/no store/)
        converge { state('running'); on_failure :warn } # rubocop:disable Style/Semicolon
      end
    end

    describe 'with another instance-id than before' do
      before do
        state_writes
        converge { instance_id 'i-1' }
        next_run
      end

      it 'withdraws the old one, after the new one is published' do
        converge { instance_id 'i-2' }
        expect(commands).to eq [%w(publish), %w(withdraw -- i-1)]
        expect(node_resource).to be_updated
        next_run
        converge { instance_id 'i-2' }
        expect(commands).to eq [%w(publish)]
        expect(node_resource).not_to be_updated
      end

      it 'tries again if a store is away' do
        answer('withdraw', code: 1, stderr: "error: no store\n")
        converge do
          instance_id 'i-2'
          on_failure :warn
        end
        next_run
        answer('withdraw')
        converge { instance_id 'i-2' }
        expect(commands).to eq [%w(publish), %w(withdraw -- i-1)]
      end

      it 'leaves alone one that another node wrote' do
        File.write(File.join(nodeinfo, '.chef-node'), "other\n")
        converge { instance_id 'i-2' }
        expect(commands).to eq [%w(publish)]
      end
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
        next_run
        converge
        expect(commands.last).to eq %w(publish)
      end
    end

    it 'ends a setup' do
      %w(presetup setup).each do |state|
        write('instance-id' => 'i-1', 'state' => state)
        next_run
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
  end

  describe ':drain, :wedge' do
    { drain: 'draining', wedge: 'wedged' }.each do |action, state|
      it "sets the state: #{action}" do
        write('instance-id' => 'i-1', 'state' => 'done')
        state_writes
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

    it 'fails if no store takes it off: no heartbeat repeats that' do
      File.write(File.join(nodeinfo, '.chef-published'), "i-1\n")
      answer('withdraw', code: 1, stderr: "error: no store\n")
      expect { converge(:withdraw) }.to raise_error(Presence::Failed, /no store/)
      next_run
      expect(Chef::Log).to receive(:warn).with(/no store/)
      converge(:withdraw) { on_failure :warn }
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
      answer('show', stdout: '{"instance-id":"i-1"}')
      converge(why_run: true)
      expect(node_resource).not_to be_updated
      answer('show', code: 1)
      converge(why_run: true)
      expect(node_resource).to be_updated
    end
  end
end
