# frozen_string_literal: true

# Under the bare `ohai` command nobody else has required it, and without it the attribute is silently empty.
require 'json' unless defined?(JSON)

# node['presence']: this node's record, and in `roster` the nodes in scope, by part.
#
# Nothing here ever fails a run: what cannot be found out is left empty, and logged. What the plugin needs to be told
# stands in the configuration of Chef or Ohai, `ohai.plugin[:presence] = { program: '/opt/bin/presence', timeout: 20 }`;
# the program itself reads its presence.toml and its environment, too.
Ohai.plugin(:Presence) do
  provides 'presence'

  # How long everything together may take, in seconds.
  def time_limit
    configuration(:timeout) || 10
  end

  def program
    configuration(:program) || ENV['PRESENCE_BIN'] || 'presence'
  end

  def command_line(*words)
    options = { 'config' => :config, 'nodeinfo' => :nodeinfo, 'store' => :store, 'folder' => :folder, 'state-dir' => :state_dir }
    [program, *options.flat_map { |option, key| Array(configuration(key)).map { |value| "--#{option}=#{value}" } }, *words]
  end

  # What the program prints, as JSON; nil, and a line in the log, if it prints none.
  def ask(deadline, *words)
    outcome = shell_out(command_line(*words), timeout: [deadline - now, 0.1].max)
    complaint = outcome.stderr.to_s.lines.first.to_s.strip
    logger.warn("presence #{words.first}: #{complaint}") unless complaint.empty?
    JSON.parse(outcome.stdout.to_s.dup.force_encoding(Encoding::UTF_8))
  rescue Ohai::Exceptions::Exec, SystemCallError, JSON::ParserError => e
    logger.warn("presence #{words.first}: no answer, so node['presence'] is not complete: #{e.message.lines.first.to_s.strip}")
    nil
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # Same deployment and same stacktype; what this node does not say is no limit. A fact is a text, a selector a glob.
  def scope(facts)
    %w(stacktype deployment).reject { |fact| facts[fact].to_s.empty? }.map do |fact|
      "--#{fact}=#{facts[fact].gsub(/[\[\]*?]/) { |character| "[#{character}]" }}"
    end
  end

  collect_data(:default) do
    deadline = now + time_limit
    facts = (ask(deadline, 'emit') || {}).fetch('value', {})
    list = facts.empty? ? {} : ask(deadline, 'list', '--format=json', *scope(facts)) || {}
    presence Mash.new(facts)
    presence[:roster] = Mash.new(list.fetch('nodes', []).group_by { |node| node.fetch('nodepart', '-') })
  end
end
