# frozen_string_literal: true

# What every spec needs, with and without Chef. Those in `spec/chef` want ChefSpec, and are passed over where it is not
# installed; those in `spec/program` want the program itself, which PRESENCE_BIN names.

COOKBOOK = File.expand_path('..', __dir__)
PROGRAM = ENV.fetch('PRESENCE_BIN', 'presence')

begin
  require 'chefspec'
rescue LoadError
  # Without Chef, the libraries are plain Ruby: under Chef, ChefSpec loads them itself.
end
%w(program nodeinfo target agent helpers).each do |library|
  require_relative "../libraries/presence_#{library}"
end

require_relative 'support/fleet'

RSpec.configure do |config|
  config.include Support::Fleet
  config.disable_monkey_patching! unless defined?(ChefSpec)
  config.raise_errors_for_deprecations!
  # What somebody has in the environment is not what is tested.
  config.before(:suite) do
    ENV.delete_if { |name, _| name.start_with?('PRESENCE_') && name != 'PRESENCE_BIN' }
    # All nodes of a spec are on this machine.
    ENV['PRESENCE_ADDRESSES'] = '127.0.0.0/8,192.0.2.0/24'
  end
end
