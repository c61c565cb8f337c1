# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = 'knife-presence'
  spec.version = '0.1.0'
  spec.summary = 'knife presence list|show|log|check|render: a fleet, as its presence list has it'
  spec.authors = ['The presence authors']
  spec.license = 'Apache-2.0'
  spec.required_ruby_version = '>= 3.0'

  # The library is that of the cookbook: the command lines are made in one place.
  spec.files = Dir['lib/**/*.rb'] + %w(libraries/presence_program.rb LICENSE README.md)
  spec.add_dependency 'knife', '>= 17.0'
  spec.add_dependency 'mixlib-shellout', '>= 3.1'
end
