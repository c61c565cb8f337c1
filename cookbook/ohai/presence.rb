# frozen_string_literal: true

# Under the bare `ohai` command nothing else has required it, and without it the attribute is silently empty.
require 'json' unless defined?(JSON)

# node['presence_node']: in `record` this node's record, in `parts` how many nodes in scope each part has, by
# availability. In `roster`, if the configuration asks for it, these nodes by part.
#
# Nothing here fails a run: unknown values stay empty. Settings are in the configuration of Chef or Ohai,
# `ohai.plugin[:presence] = { program: '/opt/bin/presence', timeout: 20 }`; the program itself reads its presence.toml
# and its environment, too.
Ohai.plugin(:Presence) do
  provides 'presence_node'

  # The time limit of everything together, in seconds.
  def time_limit
    configuration(:timeout) || 10
  end

  def program
    configuration(:program) || ENV['PRESENCE_BIN'] || 'presence'
  end

  # `timeout` ends the program at once. Ohai's own limit gives it three seconds more.
  def command_line(seconds, *words)
    options = { 'config' => :config, 'nodeinfo' => :nodeinfo, 'store' => :store, 'folder' => :folder, 'state-dir' => :state_dir }
    [
      'timeout', '--signal=KILL', format('%.1f', seconds), program,
      *options.flat_map { |option, key| Array(configuration(key)).map { |value| "--#{option}=#{value}" } }, *words
    ]
  end

  # The program's answer, as JSON. Without an answer, nil and a line in the log.
  def ask(deadline, *words)
    left = [deadline - now, 0.1].max
    outcome = shell_out(command_line(left, *words), timeout: left + 5)
    return missing(outcome) if [126, 127].include?(outcome.exitstatus)

    # Warnings are for those who run the program; a list without nodes is one.
    complaint = outcome.exitstatus == 0 ? '' : outcome.stderr.to_s.lines.first.to_s.strip
    complaint = "no answer within #{time_limit} seconds" if now >= deadline
    logger.warn("presence #{words.first}: #{complaint}") unless complaint.empty?
    JSON.parse(outcome.stdout.to_s.dup.force_encoding(Encoding::UTF_8))
  rescue Ohai::Exceptions::Exec, SystemCallError, JSON::ParserError => e
    logger.warn("presence #{words.first}: no answer, so node['presence_node'] is not complete: #{e.message.lines.first.to_s.strip}") unless now >= deadline
    nil
  end

  # In the first run of a node, the program is not installed yet.
  def missing(outcome)
    logger.debug("presence: #{outcome.stderr.to_s.lines.first.to_s.strip}")
    nil
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  # Same deployment and same stacktype; a fact that this node does not state is no limit. A fact is a text, a selector a glob.
  def scope(facts)
    %w(stacktype deployment).reject { |fact| facts[fact].to_s.empty? }.map do |fact|
      "--#{fact}=#{facts[fact].gsub(/[\[\]*?]/) { |character| "[#{character}]" }}"
    end
  end

  # The counts of at most 100 parts; the rest is counted together. A Chef server limits the size of a node.
  def counts(parts)
    first = parts.sort.first(100)
    rest = parts.sort.drop(100).flat_map(&:last)
    first += [['*', rest]] unless rest.empty?
    first.to_h { |part, nodes| [part, nodes.map { |node| node['availability'] }.tally.sort.to_h] }
  end

  collect_data(:default) do
    deadline = now + time_limit
    facts = (ask(deadline, 'emit') || {}).fetch('value', {})
    list = facts.empty? ? {} : ask(deadline, 'list', '--format=json', *scope(facts)) || {}
    parts = list.fetch('nodes', []).group_by { |node| node.fetch('nodepart', '-') }
    presence_node Mash.new(record: facts, parts: counts(parts))
    presence_node[:roster] = Mash.new(parts) if configuration(:roster)
  end
end
