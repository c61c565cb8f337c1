# frozen_string_literal: true

require 'stringio'
require 'yaml'
require_relative '../support/knife'

# `knife presence`, against the program itself: its command lines are those of `Presence::Command`.
RSpec.describe 'knife presence' do
  before do
    needs_program
    publish('app-a' => 'app1', 'db-a' => 'db1')
  end

  # Runs a subcommand, as knife would after it has read the options. Gives what it printed, and its exit code.
  def knife(name, *words, format: 'summary', **options)
    output = StringIO.new
    @complaints = StringIO.new
    plugin = Chef::Knife.const_get("Presence#{name.capitalize}").new
    plugin.ui = knife_ui(output, format)
    plugin.name_args = words
    plugin.config.merge!(
      format: format, presence_program: PROGRAM, presence_store: [list], presence_state_dir: File.join(scratch, 'knife'), **options
    )
    [output.string, exit_code { plugin.run }]
  end

  def exit_code
    yield
    0
  rescue SystemExit => e
    e.status
  end

  def knife_ui(output, format)
    return Chef::Knife::Ui.new(output, @complaints, { format: format }) if defined?(Chef::Knife::Ui)

    Chef::Knife::UI.new(output, @complaints, StringIO.new, { format: format })
  end

  it 'lists the nodes, as a table or as data' do
    text, code = knife('list')
    expect(code).to eq 0
    expect(text.lines.map(&:split)).to include(%w(app-a app1 lad1 - - active 127.0.0.1 9))
    text, = knife('list', format: 'json', part: 'db*', where: ['port=9'], state: ['active'])
    expect(JSON.parse(text).map { |node| node['instance-id'] }).to eq %w(db-a)
    text, = knife('list', format: 'yaml', part: 'app*', stacktype: 'lad*')
    expect(YAML.safe_load(text).map { |node| node['instance-id'] }).to eq %w(app-a)
    text, = knife('list', format: 'pp')
    expect(text).to start_with('[{"').and include('"app-a"')
  end

  it 'shows a node' do
    text, code = knife('show', 'db-a', format: 'json')
    expect(code).to eq 0
    expect(JSON.parse(text)).to include('instance-id' => 'db-a', 'port' => 9)
  end

  it 'renders a file as it is, or as data' do
    text, code = knife('render', 'haproxy', part: 'lb1', stacktype: 'lad1', set: ['maxconn=123'], template_dir: [scratch])
    expect(code).to eq 0
    expect(text).to start_with('# Written by').and include("maxconn 123\n").and include('server app-a 127.0.0.1:9')
    data, = knife('render', 'haproxy', format: 'json', part: 'lb1', stacktype: 'lad1', set: ['maxconn=123'])
    expect(JSON.parse(data)).to eq('haproxy' => text)
  end

  it 'has the history, as words or as data' do
    text, code = knife('log')
    expect([text, code]).to match [/db-a.* joined/, 0]
    text, = knife('log', format: 'json')
    expect(JSON.parse(text)).to all(be_a(Hash))
    expect(JSON.parse(text).length).to eq 2
  end

  it 'asks nodes whether they answer' do
    text, code = knife('check', format: 'json')
    expect(code).to eq 1
    expect(JSON.parse(text)).to be_a Hash
  end

  it 'ends as the program ended, and says what it said' do
    text, code = knife('show', 'nobody')
    expect([text, code]).to eq ['', 1]
    expect(@complaints.string).to include('`nobody` is not on the list')
    _, code = knife('list', presence_store: ['/nowhere/list'])
    expect(code).to eq 3
    _, code = knife('list', presence_program: '/nowhere/presence')
    expect(code).to eq 1
    expect(@complaints.string).to include('/nowhere/presence').and include('--program').and include('workstation')
  end

  it 'refuses a time limit that is none' do
    expect(knife('list', presence_timeout: 'abc').last).to eq 2
    expect(@complaints.string).to include('`abc` is not a time limit')
    expect(knife('list', presence_timeout: '30').last).to eq 0
  end

  it 'shows no login of a store' do
    _, code = knife('list', presence_store: ['https://deploy:hunter22@127.0.0.1:1/list.git'])
    expect(code).to eq 3
    expect(@complaints.string).to include('127.0.0.1:1')
    expect(@complaints.string).not_to include('hunter22')
  end

  it 'says how it is used' do
    expect(knife('show').last).to eq 2
    expect(knife('render').last).to eq 2
    expect(knife('render', 'haproxy', set: ['maxconn']).last).to eq 2
    expect(@complaints.string).to include('KEY=VALUE')
  end

  it 'takes each option that may be given more than once' do
    accumulate = Chef::Knife::PresenceList.options[:where][:proc]
    expect(accumulate.call('b=2', accumulate.call('a=1', nil))).to eq %w(a=1 b=2)
  end
end
