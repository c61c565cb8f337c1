# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # The nodes on the list.
    class PresenceList < Knife
      include PresenceBase
      include PresenceBase::Selectors

      banner 'knife presence list (options)'

      COLUMNS = %w(instance-id nodepart stacktype deployment state availability address port).freeze

      def run
        answer(Presence::Command.list(at, **selectors)) do |text|
          nodes = JSON.parse(text)['nodes']
          data? ? output(nodes) : table(nodes)
        end
      end

      private

      def table(nodes)
        cells = nodes.flat_map { |node| COLUMNS.map { |fact| (node[fact] || '-').to_s } }
        ui.msg(ui.list(COLUMNS.map(&:upcase) + cells, :uneven_columns_across, COLUMNS.length))
      end
    end
  end
end
