# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

RSpec.describe 'presence_config' do
  include Support::Stubs

  step_into :presence_config

  let(:file) { File.join(scratch, 'haproxy.cfg') }
  let(:resource) { chef_run.find_resource(:presence_config, file) }

  # Converges one presence_config of `file`.
  def converge(why_run: false, &settings)
    path = file
    chef_runner.converge_block do
      Chef::Config[:why_run] = why_run
      presence_config path do
        template 'haproxy'
        instance_exec(&settings) if settings
        notifies :write, 'log[told]', :delayed
      end

      log 'told' do
        action :nothing
      end
    end
  ensure
    Chef::Config[:why_run] = false
  end

  def config
    chef_runner.find_resource(:presence_config, file)
  end

  def render_writes(text)
    answer('render') { |argv| File.write(file, text) unless argv.include?('--diff') }
  end

  it 'is updated exactly when the file changed' do
    render_writes("a\n")
    converge
    expect(config).to be_updated
    expect(config.performed_actions).to eq [:create]
  end

  it 'is not updated when it did not' do
    File.write(file, "a\n")
    render_writes("a\n")
    converge
    expect(config).not_to be_updated
  end

  it 'is updated when only its mode changed' do
    File.write(file, "a\n")
    answer('render') { File.chmod(0o600, file) }
    converge { mode '0600' }
    expect(config).to be_updated
  end

  it 'notifies as a template does' do
    expect(converge.presence_config(file)).to notify('log[told]').to(:write).delayed
  end

  it 'hands everything to the program, words apart' do
    converge do
      owner 'root'
      group 'haproxy'
      mode '640'
      check %w(haproxy -c -f {})
      reload 'systemctl reload haproxy'
      variables maxconn: 100
      min_nodes 2
      max_shrink 30
      max_age '5m'
      force true
      part 'lb1'
      stacktype 'lad1'
      deployment 'fed1'
      template_dirs '/srv/templates'
      program '/opt/presence'
      store %w(/a /b)
      nodeinfo '/n'
      folder 'f'
      state_dir '/s'
    end
    expect(ran).to match [[
      '/opt/presence', '--nodeinfo=/n', '--store=/a', '--store=/b', '--folder=f', '--state-dir=/s', 'render',
      "--output=#{file}", '--mode=0640', '--owner=root:haproxy', '--check=haproxy -c -f \{\}',
      '--reload=systemctl reload haproxy', a_string_starting_with('--vars-file='), '--min-nodes=2', '--max-shrink=30', '--max-age=5m', '--force',
      '--part=lb1', '--stacktype=lad1', '--deployment=fed1', '--template-dir=/srv/templates', '--', 'haproxy'
    ]]
  end

  it 'gives a group alone to the owner that the file has' do
    File.write(file, '')
    converge { group 'haproxy' }
    expect(commands.first).to include("--owner=#{Etc.getpwuid(Process.euid).name}:haproxy")
  end

  it 'takes the name of the file for that of the template' do
    path = file
    chef_runner.converge_block { presence_config path }
    expect(commands.first.last).to eq 'haproxy.cfg'
  end

  context 'when a safety limit refuses' do
    before { answer('render', code: 3, stderr: "error: refused by a safety limit\n") }

    it 'warns' do
      expect(Chef::Log).to receive(:warn).with(/refused by a safety limit/)
      converge
      expect(config).not_to be_updated
    end

    it 'raises if it is told to' do
      expect { converge { on_refusal :raise } }.to raise_error(Presence::Refused, /refused by a safety limit/)
    end
  end

  it 'fails, and is not updated, when the check refuses' do
    File.write(file, "old\n")
    answer('render', code: 4, stderr: "error: refused by its check\n")
    expect { converge { check 'false {}' } }.to raise_error(Presence::CheckRefused)
    expect(File.read(file)).to eq "old\n"
    expect(config).not_to be_updated
  end

  it 'fails when the reload does, although the file changed' do
    answer('render', code: 5) { File.write(file, 'new') }
    expect { converge { reload 'false' } }.to raise_error(Presence::ReloadFailed)
  end

  it 'fails when the program does' do
    answer('render', code: 1, stderr: "error: no such template\n")
    expect { converge }.to raise_error(Presence::Failed, /no such template/)
  end

  it 'passes variables in a file that only its user can read' do
    seen = nil
    answer('render') do |argv|
      path = argv.grep(/^--vars-file=/).first.delete_prefix('--vars-file=')
      seen = [JSON.parse(File.read(path)), File.stat(path).mode & 0o777]
    end
    converge { variables 'password' => 'hunter22', maxconn: 100 }
    expect(seen).to eq [{ 'password' => 'hunter22', 'maxconn' => '100' }, 0o600]
    expect(ran.flatten.join(' ')).not_to include('hunter22')
  end

  it 'shows neither variables nor content if it has variables' do
    answer('render', code: 4, stderr: "error: the check said: bad password `hunter22`\n") { File.write(file, "hunter22\n") }
    failing = -> { converge { variables 'password' => 'hunter22' } }
    expect(&failing).to raise_error(Presence::CheckRefused, /bad password `\*\*\*`/)
    expect(config.sensitive).to be true
    expect(config.to_text).not_to include('hunter22')
  end

  it 'is sensitive exactly if its file may have secrets, or if it is told to' do
    render_writes("a\n")
    { -> { mode '0644' } => false, -> { mode '0640' } => true, -> { variables 'a' => 'b' } => true,
      -> { mode '0640'; sensitive false } => false, -> { sensitive true } => true }.each do |settings, sensitive| # rubocop:disable Style/Semicolon
      next_run
      converge(&settings)
      expect(config.sensitive).to be(sensitive)
    end
  end

  it 'refuses a mode that is none' do
    expect { converge { mode 'rw' } }.to raise_error(Chef::Exceptions::ValidationFailed, /octal mode/)
  end

  it 'hands on what the program warns of' do
    answer('render', stderr: "warning: one of two stores is down\n")
    expect(Chef::Log).to receive(:warn).with(/one of two stores is down/)
    converge
  end

  context 'in why-run' do
    it 'shows the difference, and changes nothing' do
      answer('render', stdout: "--- a\n+++ b\n+new\n")
      converge(why_run: true)
      expect(commands.first).to include('--diff')
      expect(config).to be_updated
      expect(File).not_to exist(file)
    end

    it 'says so if there is no difference' do
      converge(why_run: true) { mode '0644' }
      File.write(file, '')
      File.chmod(0o644, file)
      ran.clear
      converge(why_run: true) { mode '0644' }
      expect(config).not_to be_updated
    end

    it 'does not fail for what an earlier resource would have made' do
      allow(Presence::Run).to receive(:which).and_return(nil)
      converge(why_run: true)
      expect(ran).to eq []
      expect(config).to be_updated
    end
  end

  it 'deletes the file' do
    path = file
    run = chef_runner.converge_block { presence_config(path) { action :delete } }
    expect(run).to delete_file(file)
  end
end
