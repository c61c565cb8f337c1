# frozen_string_literal: true

require 'etc' unless defined?(Etc)

module Presence
  # A file that presence renders: its table in presence.toml, and its state on disk.
  module Target
    # The keys of a `[[render]]` table, and the names that a `presence_config` gives them. The keys are those of the
    # options of `presence render`.
    KEYS = {
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
      'wait-for-nodes' => %w(wait_for_nodes wait-for-nodes),
      'part' => %w(part),
      'stacktype' => %w(stacktype),
      'deployment' => %w(deployment),
      'vars' => %w(variables vars),
    }.freeze

    # A file at one moment.
    State = Struct.new(:content, :mode, :owner, :group)

    module_function

    # The `[[render]]` table of a target.
    def table(properties)
      given = properties.to_h { |key, value| [key.to_s, value] }.compact
      unknown = given.keys - KEYS.values.flatten
      raise ArgumentError, "a target has no `#{unknown.first}`; it has #{KEYS.keys.join(', ')}" if unknown.any?

      table = KEYS.transform_values { |names| given.values_at(*names).compact.first }.compact
      missing = %w(name output) - table.keys
      raise ArgumentError, "the target #{given.keys.join(', ')} has no `#{missing.first}`" if missing.any?

      %w(check reload).each { |command| table[command] = Command.words(table[command]) if table.key?(command) }
      with_group(table)
    end

    # The file as it is now; nil if there is none. presence itself complains about anything but a plain file.
    def look(path)
      found = File.lstat(path)
      return unless found.file?

      State.new(File.binread(path), mode(found.mode & 0o7777), user(found.uid), group(found.gid))
    rescue Errno::ENOENT, Errno::ENOTDIR
      nil
    end

    # The mode in four octal digits. Any other text stays as it is, for the resource to refuse.
    def mode(mode)
      return format('%04o', mode) if mode.is_a?(Integer)

      mode.match?(/\A[0-7]{1,4}\z/) ? mode.rjust(4, '0') : mode
    end

    # The changes of mode, owner and group, in lines for people.
    def moves(before, after)
      %i(mode owner group).reject { |aspect| before[aspect] == after[aspect] }.map do |aspect|
        "  set #{aspect} to #{after[aspect]} (was #{before[aspect]})"
      end
    end

    # A user, or a group, by name if it has one: `chown` takes numbers too, and people want names.
    def user(id)
      name(id) { |number| Etc.getpwuid(number) }
    end

    def group(id)
      name(id) { |number| Etc.getgrgid(number) }
    end

    def name(id)
      id.to_s.match?(/\A\d+\z/) ? yield(id.to_i).name : id.to_s
    rescue ArgumentError
      id.to_s
    end

    # presence takes USER or USER:GROUP.
    def with_group(table)
      group = table.delete('group')
      return table if group.nil?
      raise ArgumentError, "the target #{table['name']} has a `group` and no `owner`" unless table.key?('owner')

      table.merge('owner' => "#{table['owner']}:#{group}")
    end

    private_class_method :name, :with_group
  end
end
