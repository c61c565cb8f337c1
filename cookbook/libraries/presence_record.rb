# frozen_string_literal: true

require 'json' unless defined?(JSON)

module Presence
  # What a node says of itself, against what the list says of it.
  module Record
    # What the list states in its own words: the address that it settled on, the port as a number.
    RESTATED = %w(address port).freeze

    module_function

    # Whether the list has the node's record as it is.
    #
    # @param emitted [Outcome] of `presence emit`
    # @param shown [Outcome] of `presence show --format=json`
    def listed?(emitted, shown)
      return false unless emitted.success? && shown.success?

      listed = JSON.parse(shown.stdout)
      JSON.parse(emitted.stdout)['value'].except(*RESTATED).all? { |fact, value| listed[fact] == value }
    rescue JSON::ParserError
      false
    end
  end
end
