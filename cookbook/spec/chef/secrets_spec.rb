# frozen_string_literal: true

require_relative '../support/chef'
return unless defined?(ChefSpec)

# A secret in attributes and properties: no command line, no message and no resource of a run shows it, and no file that
# has it is wider than 0640.
RSpec.describe 'a secret' do
  include Support::Stubs

  step_into :presence_agent, :presence_config, :presence_credential, :presence_install, :presence_node

  let(:secret) { 'hunter22' }
  let(:log) { StringIO.new }

  before do
    chef_runner.node.override['presence']['store'] = "https://deploy:#{secret}@git.example.net/list.git"
    chef_runner.node.override['presence']['nodeinfo'] = scratch
    chef_runner.node.override['presence']['database']['variables'] = { 'password' => secret }
    answer('emit', stdout: '{"value":{}}')
    %w(debug info warn error).each { |level| allow(Chef::Log).to receive(level) { |message| log.puts(message) } }
  end

  # Every resource of the run that has the secret in a property.
  def holders(run)
    run.resource_collection.all_resources.select do |resource|
      resource.class.properties.keys.any? { |name| (resource.property_is_set?(name) ? resource.public_send(name) : nil).to_s.include?(secret) }
    end
  end

  def converge(schedule)
    token = secret
    recipe = proc do
      presence_credential('https://git.example.net') { token token }
      presence_agent 'other' do
        schedule schedule
        config '/etc/other/presence.toml'
        environment 'TOKEN' => token
        settings 'vars' => { 'password' => token }
      end
    end
    chef_runner.converge('presence::app') do
      Chef::Recipe.new('presence', 'spec', chef_runner.run_context).instance_exec(&recipe)
    end
  end

  %i(cron systemd).each do |schedule|
    it "is not shown, and nobody else can read it: #{schedule}" do
      run = converge(schedule)
      found = holders(run)
      expect(found.map(&:declared_type)).to include(:file, :template)
      open = found.select { |resource| !resource.sensitive && resource.to_text.include?(secret) }
      expect(open.map(&:to_s)).to eq []
      wide = found.select { |resource| %i(file template cron_d).include?(resource.declared_type) }
                  .reject { |resource| %w(0600 0640).include?(resource.mode) }
      expect(wide.map(&:to_s)).to eq []
      units = found.select { |resource| resource.declared_type == :systemd_unit }
      expect(units).to eq []
      expect(ran.flatten.join(' ')).not_to include(secret)
      expect(log.string).not_to include(secret)
    end
  end

  it 'is not in an error' do
    answer('render', code: 1, stderr: "error: bad value `#{secret}`\n")
    expect { converge(:none) }.to raise_error { |error| expect(error.message).to match(/bad value `\*\*\*`/) }
    expect(log.string).not_to include(secret)
  end
end
