# frozen_string_literal: true

require 'etc' unless defined?(Etc)

module Presence
  # A rendered file, as it is on disk: what tells whether a run of presence changed it.
  module Target
    # A file at one moment.
    State = Struct.new(:content, :mode, :owner, :group)

    module_function

    # The file as it is now; nil if there is none. What is no plain file is presence's to complain about.
    def look(path)
      found = File.lstat(path)
      return unless found.file?

      State.new(File.binread(path), mode(found.mode & 0o7777), user(found.uid), group(found.gid))
    rescue Errno::ENOENT, Errno::ENOTDIR
      nil
    end

    # The mode in the four digits that everybody reads.
    def mode(mode)
      format('%04o', mode.is_a?(Integer) ? mode : Integer(mode, 8))
    end

    # What changed but for the content, in lines for people.
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

    private_class_method :name
  end
end
