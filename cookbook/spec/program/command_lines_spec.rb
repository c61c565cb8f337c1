# frozen_string_literal: true

require_relative '../support/toml'

# Every command line that the cookbook runs, run: they are all made in `Presence::Command`, and each of its functions
# has a line here, with everything it can be told.
RSpec.describe Presence::Command do
  let(:at) do
    connection('lb-a', 'nodepart' => 'lb1').tap { |at| at.folder = 'it/presence/all' }
  end
  let(:config) { File.join(scratch, 'presence.toml') }
  let(:file) { File.join(scratch, 'haproxy.cfg') }
  let(:variables) { File.join(scratch, 'vars.json').tap { |file| File.write(file, '{"maxconn":"7","user":"nobody"}') } }
  let(:selectors) { { part: 'app*', stacktype: 'lad1', deployment: '*', states: %w(active done), where: { 'rack' => 'r*' } } }

  # A function, how it is called, and the exit code that says that the program took it.
  lines = {
    emit: [->(_) { described_class.emit(at) }, 0],
    publish: [->(_) { described_class.publish(at) }, 0],
    state: [->(_) { described_class.state(at, 'done') }, 0],
    withdraw: [->(_) { described_class.withdraw(at, id: 'app-a') }, 0],
    list: [->(_) { described_class.list(at, **selectors) }, 0],
    show: [->(_) { described_class.show(at, id: 'app-a') }, 0],
    # No node states a rack: there is nobody to ask.
    check: [->(_) { described_class.check(at, **selectors) }, 0],
    log: [->(_) { described_class.log(at, json: true) }, 0],
    beat: [->(_) { described_class.beat(at, quiet: true) }, 0],
    templates: [->(_) { described_class.templates(at) }, 0],
    help: [->(_) { described_class.help(at, 'emit') }, 0],
    render: [
      lambda do |_|
        described_class.render(
          at, 'haproxy', output: file, mode: '0640', owner: "#{Process.euid}:#{Process.egid}", check: %w(test -s {}),
                         reload: 'true', variables: { 'maxconn' => 123 }, vars_file: variables, min_nodes: 1, max_shrink: 50, max_age: '5m', wait_for_nodes: 'app*', force: true,
                         part: 'lb1', stacktype: 'lad1', deployment: 'fed1', template_dirs: [scratch]
        )
      end, 0
    ],
  }

  it 'has no function without a line here' do
    expect(lines.keys).to match_array(described_class.singleton_methods(false) - %i(words quoted))
  end

  before do
    needs_program
    publish('app-a' => 'app1', 'lb-a' => 'lb1')
    File.write(config, '')
    at.config = config
  end

  lines.each do |function, (make, code)|
    it "is understood: #{function}" do
      argv = instance_exec(nil, &make)
      expect(argv).to all(be_a(String))
      known = run(described_class.help(at, function.to_s)).success? || function == :help
      unless known
        expect(described_class::RECENT).to include(function.to_s), "the program has no `#{function}`, and RECENT does not say so"
        skip "this presence has no `#{function}` yet (RECENT says so)"
      end
      outcome = run(argv)
      expect(outcome.exitstatus).to eq(code), outcome.stderr
    end
  end

  it 'renders, shows the difference, and refuses, as the resources expect' do
    render = ->(**options) { run(described_class.render(at, 'haproxy', output: file, **options)) }
    expect(render.call(mode: '0640')).to be_success
    expect(File.read(file)).to include('server app-a 127.0.0.1:9')
    expect(render.call(diff: true).stdout).to eq ''
    expect(render.call(diff: true, vars_file: variables).stdout).to include('+    maxconn 7')
    expect(render.call(diff: true, variables: { 'maxconn' => 7 }).stdout).to include('+    maxconn 7')
    expect(render.call(min_nodes: 2)).to be_refused
    expect(render.call(check: 'false {}', variables: { 'maxconn' => 7 }).error).to be_a Presence::CheckRefused
    expect(render.call(reload: 'false', variables: { 'maxconn' => 8 }).error).to be_a Presence::ReloadFailed
    expect(File.read(file)).to include('maxconn 8')
  end

  it 'says of every store what it did there, as the resources expect' do
    expect(run(described_class.publish(at)).stdout).to eq "#{list}: lb-a: unchanged\n"
    expect(run(described_class.withdraw(at)).stdout).not_to match(/: not on the list$/)
    expect(run(described_class.withdraw(at)).stdout).to eq "#{list}: lb-a: not on the list\n"
    expect(run(described_class.publish(at)).stdout).not_to match(/: unchanged$/)
  end

  it 'takes a store with a login from the environment' do
    at.store = ['https://deploy:hunter22@127.0.0.1:1/list.git']
    argv = described_class.list(at)
    expect(argv.join(' ')).not_to include('hunter22')
    outcome = Presence::Run.call(argv, timeout: 60, environment: at.environment)
    expect(outcome.stdout).to include('127.0.0.1:1/list.git')
    expect([outcome.error.message, outcome.stdout].join).not_to include('hunter22')
  end

  it 'shows a record as the resources compare it' do
    listed = -> { Presence::Record.listed?(run(described_class.emit(at)), run(described_class.show(at))) }
    expect(listed.call).to be true
    File.write(File.join(at.nodeinfo, 'rack.txt'), 'r1')
    expect(listed.call).to be false
  end

  it 'understands the presence.toml of the agent' do
    target = Presence::Target.table(
      template: 'haproxy', path: file, owner: 'root', group: 'root', mode: '0644', check: %w(test -s {}), reload: %w(true),
      variables: { 'maxconn' => 100 }, min_nodes: 1, max_shrink: 50, wait_for_nodes: 'app*', part: 'lb1', stacktype: 'lad1', deployment: 'fed1'
    )
    settings = { 'limits' => { 'max-shrink' => 30 }, 'timeouts' => { 'command' => 20 }, 'vars' => { 'user' => 'haproxy' } }
    File.write(config, Support::Toml.dump(Presence::Agent.configuration(at, [target], settings)))
    outcome = run(described_class.templates(Presence::Connection.new(program: PROGRAM, config: config)))
    expect(outcome.stderr).to eq ''
  end

  it 'understands the tables of credentials' do
    files = { ssh_key: '/etc/presence/credentials/git/ssh-key', known_hosts: '/etc/presence/credentials/git/known-hosts' }
    text = Presence::Credential.add("quiet = false\n", 'ssh://git@git.example.net', files)
    text = Presence::Credential.add(text, 'https://git.example.net/team', token: '/t')
    File.write(config, Presence::Credential.add(text, 'https://git.example.org', login: '/l'))
    outcome = run(described_class.templates(Presence::Connection.new(program: PROGRAM, config: config)))
    expect([outcome.stderr, outcome.exitstatus]).to eq ['', 0]
  end
end
