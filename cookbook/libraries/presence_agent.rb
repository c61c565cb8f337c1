# frozen_string_literal: true

module Presence
  # What presence.toml says for a heartbeat.
  module Agent
    # The keys of a target, and what a `presence_config` of the same file calls them. The names in presence.toml are
    # those of the options of `presence render`.
    TARGET = {
      'name' => %w(name template),
      'output' => %w(output path),
      'owner' => %w(owner),
      'group' => %w(group),
      'mode' => %w(mode),
      'check' => %w(check),
      'reload' => %w(reload),
      'min-nodes' => %w(min_nodes min-nodes),
      'max-shrink' => %w(max_shrink max-shrink),
      'max-age' => %w(max_age max-age),
      'part' => %w(part),
      'stacktype' => %w(stacktype),
      'deployment' => %w(deployment),
      'vars' => %w(variables vars),
    }.freeze

    # What a program says of a target that is older than targets.
    NO_TARGETS = 'unknown field `render`'

    module_function

    # A target with its keys as presence.toml has them.
    def target(said)
      said = said.to_h { |key, value| [key.to_s, value] }.compact
      unknown = said.keys - TARGET.values.flatten
      raise ArgumentError, "a target has no `#{unknown.first}`; it has #{TARGET.keys.join(', ')}" if unknown.any?

      known = TARGET.transform_values { |names| said.values_at(*names).compact.first }.compact
      missing = %w(name output) - known.keys
      raise ArgumentError, "the target #{said} has no `#{missing.first}`" if missing.any?

      %w(check reload).each { |command| known[command] = Command.words(known[command]) if known.key?(command) }
      owned(known)
    end

    # The whole of presence.toml.
    def configuration(connection, targets, settings)
      stores = Array(connection.store)
      {
        'nodeinfo' => connection.nodeinfo,
        'store' => stores.empty? ? nil : stores,
        'folder' => connection.folder,
        'state-dir' => connection.state_dir,
      }.merge(settings.to_h { |key, value| [key.to_s.tr('_', '-'), value] })
        .merge('render' => targets.empty? ? nil : targets)
    end

    # Presence takes USER or USER:GROUP.
    def owned(target)
      group = target.delete('group')
      return target if group.nil?
      raise ArgumentError, "the target #{target['name']} has a `group` and no `owner`" unless target.key?('owner')

      target.merge('owner' => "#{target['owner']}:#{group}")
    end

    private_class_method :owned
  end
end
