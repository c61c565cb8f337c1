# frozen_string_literal: true

module Presence
  # Chooses among the nodes of a roster, `{part => [node, …]}`, as Ohai keeps it in `node['presence']['roster']`.
  module Roster
    module_function

    # The nodes that match every condition, by instance-id. Conditions are globs over facts; `availability` is one of
    # active, draining, down and absent, several of them, or :any.
    def select(roster, part: nil, availability: 'active', **facts)
      wanted = availability == :any ? nil : Array(availability).map(&:to_s)
      conditions = facts.merge(nodepart: part).compact
      nodes = (roster || {}).values.flatten.sort_by { |node| node['instance-id'] }
      nodes.select do |node|
        (wanted.nil? || wanted.include?(node['availability'])) &&
          conditions.all? { |fact, glob| matches?(node[fact.to_s] || node[fact.to_s.tr('_', '-')], glob) }
      end
    end

    # A glob as presence has it: `*` and `?` match any character, a leading dot too.
    def matches?(value, glob)
      !value.nil? && File.fnmatch?(glob.to_s, value.to_s, File::FNM_DOTMATCH)
    end

    private_class_method :matches?
  end
end
