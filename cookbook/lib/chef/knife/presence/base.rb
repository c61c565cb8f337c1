# frozen_string_literal: true

require 'chef/knife' unless defined?(Chef::Knife)
require 'json' unless defined?(JSON)

# The cookbook's own library: the command lines are made in one place.
require_relative '../../../../libraries/presence_program'

class Chef
  class Knife
    # What the subcommands of `knife presence` share: how they find the program and the list, and how they answer.
    module PresenceBase
      # Every value of an option that may be given more than once.
      EACH = ->(value, values) { (values || []) << value }

      def self.included(command)
        command.category 'presence'

        command.option :presence_program,
                       long: '--program PROGRAM',
                       description: 'The presence program, by path or by name (default: PRESENCE_BIN, else presence)'
        command.option :presence_config,
                       long: '--presence-config FILE',
                       description: 'The configuration file of presence'
        command.option :presence_store,
                       long: '--store URL',
                       description: 'Where the list is; may be given more than once',
                       proc: EACH
        command.option :presence_folder,
                       long: '--folder PATH',
                       description: 'The folder of the records, inside the store'
        command.option :presence_state_dir,
                       long: '--state-dir DIR',
                       description: 'Where presence keeps its copies of the list'
        command.option :presence_timeout,
                       long: '--timeout SECONDS',
                       description: "The time limit of presence (default: #{Presence::Run::TIME_LIMIT})"
      end

      # The options of the subcommands that choose nodes.
      module Selectors
        def self.included(command)
          %i(part stacktype deployment).each do |fact|
            command.option fact, long: "--#{fact} GLOB", description: "Only nodes of these #{fact}s"
          end
          command.option :state,
                         long: '--state STATE',
                         description: 'Only nodes in this state, or of this availability; may be given more than once',
                         proc: EACH
          command.option :where,
                         long: '--where FACT=GLOB',
                         description: 'Only nodes of which this fact matches; may be given more than once',
                         proc: EACH
        end

        def selectors
          {
            part: config[:part],
            stacktype: config[:stacktype],
            deployment: config[:deployment],
            states: config[:state] || [],
            where: pairs(config[:where]),
          }
        end
      end

      private

      def at
        Presence::Connection.new(
          program: config[:presence_program] || ENV['PRESENCE_BIN'] || 'presence',
          config: config[:presence_config],
          store: config[:presence_store],
          folder: config[:presence_folder],
          state_dir: config[:presence_state_dir]
        )
      end

      # Runs a command line, yields what it printed, and ends as it ended.
      def answer(argv)
        outcome = Presence::Run.call(argv, timeout: timeout, cwd: Dir.pwd, environment: at.environment)
        yield outcome.stdout unless outcome.stdout.empty?
        outcome.stderr.each_line { |line| ui.stderr.puts(line.chomp) }
        exit(outcome.exitstatus) unless outcome.success?
      rescue Presence::Missing => e
        ui.fatal("#{e.message}; install presence on this workstation, or name it with --program or PRESENCE_BIN")
        exit(1)
      rescue Presence::Error => e
        ui.fatal(e.message)
        exit(1)
      end

      # From the command line or from config.rb.
      def timeout
        seconds = (config[:presence_timeout] || Presence::Run::TIME_LIMIT).to_s
        usage!("`#{seconds}` is not a time limit: --timeout takes a number of seconds") unless seconds.match?(/\A[1-9]\d{0,8}\z/)
        seconds.to_i
      end

      # Whether the user asked for data, and not for a table or a text.
      def data?
        %w(json yaml pp).include?(ui.config[:format].to_s)
      end

      # The list of KEY=VALUE as a Hash.
      def pairs(list)
        Array(list).to_h do |pair|
          key, value = pair.split('=', 2)
          usage!("`#{pair}` is not of the form KEY=VALUE") if value.nil?
          [key, value]
        end
      end

      def usage!(message)
        ui.fatal(message)
        show_usage
        exit(2)
      end
    end
  end
end
