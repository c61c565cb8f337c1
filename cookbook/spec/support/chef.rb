# frozen_string_literal: true

# ChefSpec on this cookbook, whatever its folder is called, with the program played by a stub.
return unless defined?(ChefSpec)

require 'fileutils'
require 'tmpdir'

COOKBOOKS = Dir.mktmpdir('cookbooks')
File.symlink(COOKBOOK, File.join(COOKBOOKS, 'presence'))
File.symlink(File.join(COOKBOOK, 'test/cookbooks/test'), File.join(COOKBOOKS, 'test'))
at_exit { FileUtils.rm_rf(COOKBOOKS) }

RSpec.configure do |config|
  config.cookbook_path = [COOKBOOKS]
  config.log_level = :fatal
end

module Support
  # The program's answers.
  module Stubs
    def self.included(group)
      # One that Fauxhai brings along: others it would fetch.
      group.platform 'debian', '11'
      group.let(:ran) { [] }
      group.let(:answers) { {} }
      group.let(:systemd) { false }
      group.let(:cron) { true }
      group.let(:called) { [] }

      group.before do
        stub_program
        allow(File).to receive(:directory?).and_call_original
        allow(File).to receive(:directory?).with('/run/systemd/system') { systemd }
        # This machine may have a presence of its own.
        ['/root/nodeinfo', '/etc/presence/nodeinfo'].each { |dir| allow(File).to receive(:directory?).with(dir).and_return(false) }
        allow(File).to receive(:exist?).and_call_original
        allow(File).to receive(:exist?).with('/etc/presence/presence.toml').and_return(false)
      end
    end

    # ChefSpec adds each converge of an example to the same run. This begins another run, on a new node.
    def next_run
      runner = chef_runner_instance
      define_singleton_method(:chef_runner) { runner }
      ran.clear
    end

    # Answers for a command: its exit code, stdout and stderr. Every other one succeeds and says nothing.
    def answer(command, code: 0, stdout: '', stderr: '', &effect)
      answers[command] = [code, stdout, stderr, effect]
    end

    # The command lines that were run, without the program and its settings.
    def commands
      ran.map { |argv| argv.drop(1).drop_while { |word| word.start_with?('--') } }
    end

    private

    def stub_program
      allow(Presence::Run).to receive(:which) do |program|
        "/usr/bin/#{File.basename(program)}" unless !cron && %w(cron crond).include?(program)
      end
      allow(Presence::Run).to receive(:call) do |argv, **options|
        ran << argv
        called << options
        command = argv.drop(1).find { |word| !word.start_with?('--') }
        code, stdout, stderr, effect = answers.fetch(command, [0, '', ''])
        effect&.call(argv)
        Presence::Outcome.new(argv.join(' '), code, stdout, Presence::Mask.secrets(stderr, options.fetch(:secrets, [])))
      end
    end
  end
end
