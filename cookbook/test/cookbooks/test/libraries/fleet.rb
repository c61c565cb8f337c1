# frozen_string_literal: true

module Test
  # A fleet on one machine: every node of it has folders of its own, and all have one list.
  module Fleet
    ROOT = '/srv/presence'
    LIST = "#{ROOT}/list"

    # Declares a node of the fleet.
    def fleet_node(id, &more)
      presence_node id do
        instance_id id
        nodeinfo "#{ROOT}/#{id}/nodeinfo"
        state_dir "#{ROOT}/#{id}/state"
        store LIST
        stacktype 'lad1'
        instance_eval(&more) if more
      end
    end
  end
end

Chef::DSL::Recipe.include(Test::Fleet)
