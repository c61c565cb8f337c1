# frozen_string_literal: true

begin
  require 'chef/knife'
rescue LoadError
  # Enough of knife to load a plugin and to run it: what Debian has no package of.
  class Chef
    class Knife
      Ui = Struct.new(:stdout, :stderr, :config) do
        def msg(text)
          stdout.puts(text)
        end

        def fatal(text)
          stderr.puts("FATAL: #{text}")
        end

        def list(cells, _layout, columns)
          cells.each_slice(columns).map { |row| row.join(' ') }.join("\n")
        end

        def output(data)
          msg({ 'yaml' => YAML.method(:dump), 'pp' => :inspect.to_proc }.fetch(config[:format], :to_json.to_proc).call(data))
        end
      end

      class << self
        attr_reader :options, :usage

        def option(name, settings)
          (@options ||= {})[name] = settings
        end

        def banner(text)
          @usage = text
        end

        def category(_name); end
      end

      attr_accessor :config, :name_args, :ui

      def initialize(_argv = [])
        @config = {}
        @name_args = []
      end

      def show_usage
        ui.stderr.puts(self.class.usage)
      end

      def output(data)
        ui.output(data)
      end
    end
  end
end

Dir[File.join(COOKBOOK, 'lib/chef/knife/*.rb')].sort.each { |plugin| require plugin }
