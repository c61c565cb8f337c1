# frozen_string_literal: true

require 'json'
require 'open3'

# The Ohai plugin under the bare `ohai` command.
RSpec.describe 'ohai/presence.rb' do
  before do
    needs_program
    skip 'there is no `ohai` here' if Presence::Run.which('ohai').nil?
  end

  # Runs `ohai presence` and gives what it printed and what it logged.
  def ohai(settings, environment = {})
    config = File.join(scratch, 'ohai.rb')
    File.write(config, "ohai.plugin[:presence] = #{settings.inspect}\n")
    argv = ['ohai', '-c', config, '-d', File.join(COOKBOOK, 'ohai'), 'presence_node']
    output, log, status = Open3.capture3({ 'PRESENCE_BIN' => PROGRAM }.merge(environment), *argv)
    expect(status).to be_success, log
    [JSON.parse(output), log]
  end

  def settings(at)
    at.to_h.compact
  end

  it "has this node's record, and how many nodes each part has" do
    publish('app-b' => 'app1', 'app-a' => 'app1', 'lb-a' => 'lb1')
    run(Presence::Command.publish(connection('db-a', 'nodepart' => 'db1', 'stacktype' => 'other')))
    run(Presence::Command.state(connection('app-b', 'nodepart' => 'app1'), 'draining'))
    presence, log = ohai(settings(connection('lb-a', 'nodepart' => 'lb1', 'rack' => 'ü1')))
    expect(presence['record']).to include('instance-id' => 'lb-a', 'nodepart' => 'lb1', 'rack' => 'ü1', 'port' => '9')
    expect(presence['parts']).to eq('app1' => { 'active' => 1, 'draining' => 1 }, 'lb1' => { 'active' => 1 })
    expect(presence.keys).to match_array %w(record parts)
    expect(log).to eq ''
  end

  it 'has the nodes themselves only on request' do
    publish('app-b' => 'app1', 'app-a' => 'app1', 'lb-a' => 'lb1')
    presence, = ohai(settings(connection('lb-a', 'nodepart' => 'lb1')).merge(roster: true))
    expect(presence['roster'].transform_values { |nodes| nodes.map { |node| node['instance-id'] } }).to eq(
      'app1' => %w(app-a app-b), 'lb1' => %w(lb-a)
    )
    expect(presence['roster']['app1'].first).to include('address' => '127.0.0.1', 'port' => 9, 'availability' => 'active')
  end

  it 'stays small, however many nodes and parts there are' do
    # A program that answers like presence in a scope of ten thousand nodes.
    nodes = (1..10_000).map do |number|
      { 'instance-id' => "i-#{number}", 'nodepart' => "app#{number % 5_000}", 'address' => '192.0.2.1', 'availability' => 'active' }
    end
    File.write(File.join(scratch, 'emit'), JSON.generate('value' => { 'instance-id' => 'lb-a' }))
    File.write(File.join(scratch, 'list'), JSON.generate('nodes' => nodes))
    program = File.join(scratch, 'program')
    File.write(program, "#!/bin/sh\nexec cat #{scratch}/$1\n", perm: 0o755)
    presence, log = ohai(program: program)
    expect(presence['parts'].values.flat_map(&:values).sum).to eq 10_000
    expect(JSON.generate(presence).length).to be < 20_000
    expect(log).to eq ''
  end

  it 'takes what the environment says, too' do
    publish('app-a' => 'app1')
    at = connection('app-a', 'nodepart' => 'app1')
    presence, = ohai({}, 'PRESENCE_NODEINFO' => at.nodeinfo, 'PRESENCE_STORE' => list, 'PRESENCE_STATE_DIR' => at.state_dir)
    expect(presence['parts'].keys).to eq %w(app1)
  end

  it 'does not warn of a list without nodes' do
    run(Presence::Command.publish(connection('app-a', 'nodepart' => 'app1')))
    presence, log = ohai(settings(connection('lb-a', 'nodepart' => 'lb1', 'stacktype' => 'other')))
    expect([presence['parts'], log]).to eq [{}, '']
  end

  it 'takes no fact for a pattern' do
    run(Presence::Command.publish(connection('app-a', 'nodepart' => 'app1')))
    presence, = ohai(settings(connection('lb-a', 'nodepart' => 'lb1', 'stacktype' => 'l*')))
    expect(presence['parts']).to eq({})
  end

  it 'is empty without the program, as in the first run of a node' do
    presence, log = ohai(program: '/nowhere/presence')
    expect(presence).to eq('record' => {}, 'parts' => {})
    expect(log).to eq ''
  end

  it 'is empty, and says so, if the program says nothing that makes sense' do
    presence, log = ohai(program: '/bin/echo')
    expect(presence).to eq('record' => {}, 'parts' => {})
    expect(log).to include('presence emit: no answer')
  end

  it 'has the record, no counts, and a line in the log, without a store' do
    at = connection('lb-a', 'nodepart' => 'lb1')
    at.store = ['/nowhere/list']
    presence, log = ohai(settings(at))
    expect(presence).to include('record' => include('instance-id' => 'lb-a'), 'parts' => {})
    expect(log).to include('presence list:').and include('/nowhere/list')
  end

  it 'waits no longer than its limit for a store that says nothing' do
    silent_store do |url|
      at = connection('lb-a', 'nodepart' => 'lb1')
      at.store = [url]
      presence, log = ohai(settings(at).merge(timeout: 2))
      expect(presence).to include('record' => include('instance-id' => 'lb-a'), 'parts' => {})
      expect(log).to include('presence list: no answer within 2 seconds')
    end
  end

  it 'runs no command line but these two' do
    log = File.join(scratch, 'argv')
    recorder = File.join(scratch, 'recorder')
    File.write(recorder, "#!/bin/sh\nprintf '%s\\n' \"$*\" >> #{log}\nexec #{PROGRAM} \"$@\"\n", perm: 0o755)
    at = connection('lb-a', 'nodepart' => 'lb1', 'deployment' => 'fed1')
    at.folder = 'it/presence/all'
    ohai(settings(at).merge(program: recorder))
    options = "--nodeinfo=#{at.nodeinfo} --store=#{list} --folder=it/presence/all --state-dir=#{at.state_dir}"
    expect(File.readlines(log, chomp: true)).to eq(
      ["#{options} emit", "#{options} list --format=json --stacktype=lad1 --deployment=fed1"]
    )
  end
end
