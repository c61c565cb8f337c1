# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # One node.
    class PresenceShow < Knife
      include PresenceBase

      banner 'knife presence show ID (options)'

      def run
        usage!('Say which node: its instance-id') if name_args.empty?

        answer(Presence::Command.show(at, id: name_args.first)) { |text| output(JSON.parse(text)) }
      end
    end
  end
end
