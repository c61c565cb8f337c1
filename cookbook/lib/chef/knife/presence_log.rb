# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # The fleet's history, in words.
    class PresenceLog < Knife
      include PresenceBase

      banner 'knife presence log (options)'

      def run
        answer(Presence::Command.log(at)) { |text| ui.interchange? ? output(text.lines.map(&:chomp)) : ui.msg(text.chomp) }
      end
    end
  end
end
