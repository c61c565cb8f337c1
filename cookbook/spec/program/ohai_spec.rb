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
    argv = ['ohai', '-c', config, '-d', File.join(COOKBOOK, 'ohai'), 'presence']
    output, log, status = Open3.capture3({ 'PRESENCE_BIN' => PROGRAM }.merge(environment), *argv)
    expect(status).to be_success, log
    [JSON.parse(output), log]
  end

  def settings(at)
    at.to_h.compact
  end

  it "has this node's record, and the nodes in scope by part" do
    publish('app-b' => 'app1', 'app-a' => 'app1', 'lb-a' => 'lb1')
    run(Presence::Command.publish(connection('db-a', 'nodepart' => 'db1', 'stacktype' => 'other')))
    presence, log = ohai(settings(connection('lb-a', 'nodepart' => 'lb1', 'rack' => 'ü1')))
    expect(presence).to include('instance-id' => 'lb-a', 'nodepart' => 'lb1', 'rack' => 'ü1', 'port' => '9')
    expect(presence['roster'].transform_values { |nodes| nodes.map { |node| node['instance-id'] } }).to eq(
      'app1' => %w(app-a app-b), 'lb1' => %w(lb-a)
    )
    expect(presence['roster']['app1'].first).to include('address' => '127.0.0.1', 'port' => 9, 'availability' => 'active')
    expect(log).to eq ''
  end

  it 'takes what the environment says, too' do
    publish('app-a' => 'app1')
    at = connection('app-a', 'nodepart' => 'app1')
    presence, = ohai({}, 'PRESENCE_NODEINFO' => at.nodeinfo, 'PRESENCE_STORE' => list, 'PRESENCE_STATE_DIR' => at.state_dir)
    expect(presence['roster'].keys).to eq %w(app1)
  end

  it 'takes no fact for a pattern' do
    run(Presence::Command.publish(connection('app-a', 'nodepart' => 'app1')))
    presence, = ohai(settings(connection('lb-a', 'nodepart' => 'lb1', 'stacktype' => 'l*')))
    expect(presence['roster']).to eq({})
  end

  it 'is empty, and says so, without the program' do
    presence, log = ohai(program: '/nowhere/presence')
    expect(presence).to eq('roster' => {})
    expect(log).to include('presence emit: no answer').and include('/nowhere/presence')
  end

  it 'is empty, and says so, if the program says nothing that makes sense' do
    presence, log = ohai(program: '/bin/echo')
    expect(presence).to eq('roster' => {})
    expect(log).to include('presence emit: no answer')
  end

  it 'has the record, no roster, and a line in the log, without a store' do
    at = connection('lb-a', 'nodepart' => 'lb1')
    at.store = ['/nowhere/list']
    presence, log = ohai(settings(at))
    expect(presence).to include('instance-id' => 'lb-a', 'roster' => {})
    expect(log).to include('presence list:').and include('/nowhere/list')
  end

  it 'does not wait for a store that says nothing' do
    silent_store do |url|
      at = connection('lb-a', 'nodepart' => 'lb1')
      at.store = [url]
      presence, log = ohai(settings(at).merge(timeout: 2))
      expect(presence).to include('instance-id' => 'lb-a', 'roster' => {})
      expect(log).to include('presence list: no answer').and include('timed out')
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
