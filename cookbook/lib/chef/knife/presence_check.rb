# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # Asks nodes whether they answer. Ends with 1 if one does not.
    class PresenceCheck < Knife
      include PresenceBase
      include PresenceBase::Selectors

      banner 'knife presence check (options)'

      def run
        answer(Presence::Command.check(at, **selectors)) { |text| output(JSON.parse(text)) }
      end
    end
  end
end
