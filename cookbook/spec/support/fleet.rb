# frozen_string_literal: true

require 'fileutils'
require 'socket'
require 'tmpdir'

module Support
  # A fleet for one example, in a folder that goes with it.
  module Fleet
    # For specs that need the program. Who names one wants them run; who does not may have none.
    def needs_program
      return if ENV.key?('PRESENCE_BIN') || Presence::Run.which(PROGRAM)

      skip 'there is no presence here: PRESENCE_BIN can name one'
    end

    # The folder of this example.
    def scratch
      @scratch ||= Dir.mktmpdir('presence')
    end

    def self.included(group)
      group.after { FileUtils.rm_rf(@scratch) if @scratch }
    end

    # A node's settings, with facts in its nodeinfo.
    def connection(id, facts = {})
      nodeinfo = File.join(scratch, id, 'nodeinfo')
      FileUtils.mkdir_p(nodeinfo)
      { 'instance-id' => id, 'stacktype' => 'lad1', 'address' => '127.0.0.1', 'port' => '9' }.merge(facts).each do |fact, value|
        File.write(File.join(nodeinfo, "#{fact}.txt"), "#{value}\n")
      end
      Presence::Connection.new(program: PROGRAM, nodeinfo: nodeinfo, store: [list], state_dir: File.join(scratch, id, 'state'))
    end

    # The list of the fleet, a repository: it has a history.
    def list
      @list ||= File.join(scratch, 'list.git').tap do |path|
        raise 'git makes no repository' unless system('git', 'init', '--quiet', '--bare', path)
      end
    end

    def run(argv)
      Presence::Run.call(argv, timeout: 20)
    end

    # Puts nodes on the list: `publish('app-a' => 'app1')`.
    def publish(nodes)
      nodes.each do |id, part|
        outcome = run(Presence::Command.publish(connection(id, 'nodepart' => part)))
        raise outcome.error unless outcome.success?
      end
    end

    # A store that takes connections and never says a word.
    def silent_store
      server = TCPServer.new('127.0.0.1', 0)
      yield "git://127.0.0.1:#{server.addr[1]}/list"
    ensure
      server&.close
    end
  end
end
