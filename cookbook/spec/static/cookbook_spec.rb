# frozen_string_literal: true

require 'erb'
require 'yaml'

# What can be said of the cookbook without running it.
RSpec.describe 'the cookbook' do
  def read(file)
    File.read(File.join(COOKBOOK, file), encoding: Encoding::UTF_8)
  end

  def files(glob)
    Dir.glob(glob, base: COOKBOOK).sort
  end

  # The properties of a resource, with those of the partials that it uses.
  def properties(resource)
    source = read(resource)
    partials = source.scan(%r{^use 'partial/_(\w+)'}).flatten.map { |name| read("resources/partial/_#{name}.rb") }
    [source, *partials].join.scan(/^property :(\w+)/).flatten
  end

  it 'has metadata that says all that is needed' do
    said = Hash.new { |hash, key| hash[key] = [] }
    recorder = Object.new
    recorder.define_singleton_method(:method_missing) { |name, *values| said[name] << values }
    recorder.instance_eval(read('metadata.rb'))
    expect(said.keys).to include(:name, :maintainer, :maintainer_email, :license, :description, :version, :chef_version, :supports)
    expect(said[:name]).to eq [['presence']]
    expect(said[:license]).to eq [['Apache-2.0']]
    expect(said[:version].flatten.first).to match(/\A\d+\.\d+\.\d+\z/)
    expect(read('knife-presence.gemspec')).to include("spec.version = '#{said[:version].flatten.first}'")
    expect(read('CHANGELOG.md')).to include("## #{said[:version].flatten.first}")
  end

  it 'has a kitchen that proves idempotence' do
    kitchen = YAML.safe_load(ERB.new(read('kitchen.yml')).result)
    expect(kitchen['provisioner']).to include('multiple_converge' => 2, 'enforce_idempotency' => true, 'deprecations_as_errors' => true)
    suites = kitchen['suites'].to_h { |suite| [suite['name'], suite['provisioner']['named_run_list']] }
    recipes = files('test/cookbooks/test/recipes/*.rb').map { |file| File.basename(file, '.rb') }
    expect(suites.values).to match_array(recipes - %w(install) + %w(haproxy_cookbook))
    expect(suites.keys).to match_array(files('test/integration/*').map { |dir| File.basename(dir) })
  end

  files = Dir.glob('resources/*.rb', base: COOKBOOK).sort
  files.each do |resource|
    name = "presence_#{File.basename(resource, '.rb')}"

    describe name do
      let(:source) { read(resource) }
      let(:page) { read("documentation/#{name}.md") }

      it 'is a modern resource' do
        expect(source).to include("provides :#{name}\n", "unified_mode true\n", "\nintroduced '", "\ndescription ")
        expect(source.scan(/^property /).length).to eq source.scan(/^         description: /).length
      end

      it 'is documented: every action, every property, an example' do
        expect(page.scan(/^\| `(\w+)`/).flatten).to match_array(properties(resource))
        expect(page.scan(/^- `:(\w+)`/).flatten).to match_array(source.scan(/^action :(\w+)/).flatten)
        expect(page).to match(/```ruby\n#{name} /)
      end
    end
  end

  it 'has at most five libraries' do
    expect(files('libraries/*.rb').length).to be <= 5
  end

  it 'says when each resource was introduced' do
    files('resources/*.rb').each do |resource|
      version = read(resource)[/^introduced '(.+)'/, 1]
      expect(read("documentation/presence_#{File.basename(resource, '.rb')}.md")).to include("Introduced in #{version}.")
    end
  end

  it 'has examples that are Ruby' do
    files('{README.md,documentation/*.md}').each do |page|
      read(page).scan(/^```ruby\n(.*?)^```/m).flatten.each do |example|
        expect { RubyVM::InstructionSequence.compile(example) }.not_to raise_error, "#{page}:\n#{example}"
      end
    end
  end

  it 'has every attribute in the README' do
    attributes = read('attributes/default.rb').scan(/^default((?:\['\w+'\])+)/).flatten
    expect(attributes.reject { |attribute| read('README.md').include?("node#{attribute}") }).to eq []
  end

  it 'asks no shell' do
    sources = files('{libraries,resources,recipes,ohai,lib}/**/*.rb').reject { |file| file == 'libraries/presence_program.rb' }
    sources.each do |file|
      expect(read(file)).not_to match(/%x|\bsystem[ (]['"]|\bspawn\b|Open3|Mixlib::ShellOut\.new|^\s*(execute|bash|script) /), file
    end
  end
end
