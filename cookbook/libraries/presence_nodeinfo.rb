# frozen_string_literal: true

require 'digest' unless defined?(Digest)
require 'fileutils' unless defined?(FileUtils)
require 'json' unless defined?(JSON)
require 'tempfile' unless defined?(Tempfile)

module Presence
  # The folder of a node's facts: one `NAME.txt` a fact, its trimmed content the value.
  module Nodeinfo
    # The default folders of presence.
    FOLDERS = %w(/root/nodeinfo /etc/presence/nodeinfo).freeze

    # The names of facts: file names that are neither hidden nor paths.
    FACT_NAME = /\A[A-Za-z0-9][A-Za-z0-9 _.-]*\z/.freeze

    # The instance-ids that presence accepts.
    INSTANCE_ID = /\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\z/.freeze

    # The facts that `presence_node` has a property for.
    PROPERTIES = {
      instance_id: 'instance-id',
      part: 'nodepart',
      stacktype: 'stacktype',
      deployment: 'deployment',
      address: 'address',
      port: 'port',
    }.freeze

    # Those, and the facts that `presence state` keeps.
    RESERVED = (PROPERTIES.values + %w(state statelog statetss)).freeze

    # The name of the Chef node that wrote the instance-id. Hidden and without `.txt`, these files are no facts.
    AUTHOR = '.chef-node'

    # The instance-ids that this node had, and that are to be withdrawn: one a line.
    FORMER = '.chef-former'

    # The instance-id under which this node was published.
    PUBLISHED = '.chef-published'

    module_function

    def default_folder
      FOLDERS.find { |dir| File.directory?(dir) } || FOLDERS.last
    end

    # Whether it is a folder that presence does without.
    def missing_default?(dir)
      FOLDERS.include?(dir) && !File.directory?(dir)
    end

    # Whether presence accepts the folder as an option.
    def usable?(dir)
      FOLDERS.include?(dir) || File.directory?(dir)
    end

    def read(dir)
      Dir.glob('*.txt', base: dir).sort.to_h { |file| [File.basename(file, '.txt'), read_text(File.join(dir, file))] }
    end

    # Writes the facts that are not there yet as they should be, each whole or not at all; nil takes one away.
    def change(dir, facts, node_name)
      known = read(dir)
      leave(dir, known['instance-id'], facts['instance-id'], node_name)
      facts.each do |fact, value|
        next if known[fact] == value

        write(dir, fact, value)
        replace(File.join(dir, AUTHOR), node_name) if fact == 'instance-id'
      end
    end

    # The instance-ids that are to be withdrawn.
    def former(dir)
      read_text(File.join(dir, FORMER)).to_s.split("\n")
    end

    # Forgets one of them, which is withdrawn.
    def withdrawn(dir, id)
      rest = former(dir) - [id]
      file = File.join(dir, FORMER)
      rest.empty? ? File.delete(file) : replace(file, rest.join("\n"))
    end

    # Whether this node was published under its present instance-id.
    def published?(dir)
      id = read_text(File.join(dir, 'instance-id.txt')).to_s
      !id.empty? && read_text(File.join(dir, PUBLISHED)) == id
    end

    # Remembers that it was.
    def published(dir)
      id = read_text(File.join(dir, 'instance-id.txt')).to_s
      replace(File.join(dir, PUBLISHED), id) unless id.empty? || published?(dir)
    end

    # Remembers that it is on no list any more.
    def unpublished(dir)
      FileUtils.rm_f(File.join(dir, PUBLISHED))
    end

    # The instance-id that a node has if none is given: the one in its nodeinfo, or one made from its name in Chef.
    #
    # A machine id would not do: several nodes may be converged on one machine. Nor may the id of another Chef node be
    # kept: an image made of a converged machine brings its nodeinfo along, and two nodes would overwrite each other.
    def instance_id(dir, node_name)
      id = read_text(File.join(dir, 'instance-id.txt')).to_s
      author = read_text(File.join(dir, AUTHOR))
      id.empty? || (author && author != node_name) ? id_from(node_name) : id
    end

    # A node's name, as an instance-id. Where characters had to go, a hash keeps two names from becoming one.
    def id_from(node_name)
      return node_name if INSTANCE_ID.match?(node_name)

      readable = node_name.gsub(/[^A-Za-z0-9_.-]+/, '-').sub(/\A[^A-Za-z0-9]+/, '')[0, 55]
      [readable, Digest::SHA256.hexdigest(node_name)[0, 8]].reject(&:empty?).join('-')
    end

    # Notes the id that this node leaves, before it has the new one: a run may end in between. The id of another author
    # may still be in use elsewhere.
    def leave(dir, old, new, node_name)
      return if new.nil? || old.to_s.empty? || old == new || read_text(File.join(dir, AUTHOR)) != node_name

      # A node that returns to an earlier id keeps that one.
      replace(File.join(dir, FORMER), ((former(dir) | [old]) - [new]).join("\n"))
    end

    def write(dir, fact, value)
      raise ArgumentError, "`#{fact}` cannot be the name of a fact" unless FACT_NAME.match?(fact)

      file = File.join(dir, "#{fact}.txt")
      value.nil? ? File.delete(file) : replace(file, value)
    end

    def read_text(file)
      File.read(file, encoding: Encoding::UTF_8).scrub.strip
    rescue Errno::ENOENT
      nil
    end

    # By rename, so that neither a reader nor a crash ever meets half a fact, and a link is replaced, not followed.
    def replace(file, value)
      Tempfile.create(['.', '.new'], File.dirname(file)) do |staged|
        staged.write("#{value}\n")
        staged.chmod(0o644)
        staged.fsync
        File.rename(staged.path, file)
      end
    end

    private_class_method :leave, :write, :read_text, :replace
  end

  # This node's record, compared with the list's.
  module Record
    # The facts that the list states in its own words: the address that it settled on, the port as a number.
    RESTATED = %w(address port).freeze

    module_function

    # Whether the list has the node's record as it is.
    #
    # @param emitted [Outcome] of `presence emit`
    # @param shown [Outcome] of `presence show --format=json`
    def listed?(emitted, shown)
      return false unless emitted.success? && shown.success?

      listed = JSON.parse(shown.stdout)
      JSON.parse(emitted.stdout)['value'].except(*RESTATED).all? { |fact, value| listed[fact] == value }
    rescue JSON::ParserError
      false
    end
  end
end
