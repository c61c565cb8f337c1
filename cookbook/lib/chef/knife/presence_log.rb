# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # The history of the fleet.
    class PresenceLog < Knife
      include PresenceBase

      banner 'knife presence log (options)'

      def run
        answer(Presence::Command.log(at, json: data?)) { |text| data? ? output(JSON.parse(text)) : ui.msg(text.chomp) }
      end
    end
  end
end
