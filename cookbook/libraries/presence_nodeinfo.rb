# frozen_string_literal: true

require 'digest' unless defined?(Digest)
require 'tempfile' unless defined?(Tempfile)

module Presence
  # The folder of a node's facts: one `NAME.txt` a fact, its trimmed content the value.
  module Nodeinfo
    # Where facts are, if nobody says otherwise: as presence has it.
    FOLDERS = %w(/root/nodeinfo /etc/presence/nodeinfo).freeze

    # What a fact may be called: a file name that is neither hidden nor a path.
    FACT_NAME = /\A[A-Za-z0-9][A-Za-z0-9 _.-]*\z/.freeze

    # What presence takes as an instance-id.
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

    # Says which Chef node wrote the instance-id. Hidden and without `.txt`, it is no fact.
    MARK = '.chef-node'

    module_function

    def default_folder
      FOLDERS.find { |dir| File.directory?(dir) } || FOLDERS.last
    end

    # Whether it is a folder that presence does without.
    def missing_default?(dir)
      FOLDERS.include?(dir) && !File.directory?(dir)
    end

    # Whether presence can be told to look there.
    def usable?(dir)
      FOLDERS.include?(dir) || File.directory?(dir)
    end

    def read(dir)
      Dir.glob('*.txt', base: dir).sort.to_h { |file| [File.basename(file, '.txt'), read_text(File.join(dir, file))] }
    end

    # Writes the facts that are not there yet as they should be, each whole or not at all; nil takes one away.
    def change(dir, facts, node_name)
      known = read(dir)
      facts.each do |fact, value|
        next if known[fact] == value

        write(dir, fact, value)
        replace(File.join(dir, MARK), node_name) if fact == 'instance-id'
      end
    end

    # The instance-id that a node has if none is given: the one in its nodeinfo, or one made from its name in Chef.
    #
    # A machine id would not do: several nodes may be converged on one machine. Nor may the id of another Chef node be
    # kept: an image made of a converged machine brings its nodeinfo along, and two nodes would overwrite each other.
    def instance_id(dir, node_name)
      id = read_text(File.join(dir, 'instance-id.txt')).to_s
      author = read_text(File.join(dir, MARK))
      id.empty? || (author && author != node_name) ? id_from(node_name) : id
    end

    # A node's name, as an instance-id. Where characters had to go, a hash keeps two names from becoming one.
    def id_from(node_name)
      return node_name if INSTANCE_ID.match?(node_name)

      readable = node_name.gsub(/[^A-Za-z0-9_.-]+/, '-').sub(/\A[^A-Za-z0-9]+/, '')[0, 55]
      [readable, Digest::SHA256.hexdigest(node_name)[0, 8]].reject(&:empty?).join('-')
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

    private_class_method :write, :read_text, :replace
  end
end
