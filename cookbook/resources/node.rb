# frozen_string_literal: true

provides :presence_node

unified_mode true

introduced '0.1.0'

description "Keeps this node's facts, and its place on the list."

use 'partial/_connection'

property :instance_id, String,
         default: lazy { Presence::Nodeinfo.instance_id(nodeinfo, node.name) },
         regex: Presence::Nodeinfo::INSTANCE_ID,
         description: 'The unique name of the node on the list.'

property :part, String,
         description: 'The part of the node, for example `app1`.'

property :stacktype, String,
         description: 'The stacktype of the node, for example `lad1`.'

property :deployment, String,
         callbacks: {
           '`_default` is the name that Chef has for no environment; state the deployment' => ->(value) { value != '_default' },
         },
         description: "The deployment of the node. Chef's environment is not used."

property :address, String,
         description: 'The address of its service, if not that of the default route.'

property :port, [String, Integer],
         coerce: proc { |port| port&.to_s },
         description: 'The port of its service.'

property :facts, Hash,
         default: {},
         coerce: proc { |facts| facts.to_h { |fact, value| [fact.to_s, value.nil? ? nil : value.to_s.strip] } },
         callbacks: {
           'a fact is a file: its name may not be a path' => lambda do |facts|
             facts.keys.all? { |fact| Presence::Nodeinfo::FACT_NAME.match?(fact) }
           end,
           'the properties `state`, `part`, `port` and so on keep these facts' => lambda do |facts|
             (facts.keys & Presence::Nodeinfo::RESERVED).empty?
           end,
         },
         description: 'Any other facts. One that is nil is taken away.'

property :state, String,
         regex: Presence::Nodeinfo::INSTANCE_ID,
         desired_state: false,
         description: 'The state that `:register` puts the node in. Without it, a node that has none, or is being set up, becomes `done`; any other stays as it is.'

property :on_failure, [String, Symbol],
         equal_to: %i(auto warn raise),
         coerce: proc(&:to_sym),
         default: lazy { node.read('presence', 'on_failure') || :auto },
         desired_state: false,
         description: 'The reaction if no store takes the record: `:warn`, `:raise`, or `:auto`.'

load_current_value do |new_resource|
  current_value_does_not_exist! unless ::Dir.exist?(new_resource.nodeinfo)

  known = Presence::Nodeinfo.read(new_resource.nodeinfo)
  Presence::Nodeinfo::PROPERTIES.each do |property, fact|
    public_send(property, known[fact]) unless known[fact].to_s.empty?
  end
  facts(new_resource.facts.to_h { |fact, _| [fact, known[fact]] })
end

action_class do
  include Presence::Acting

  # True if a fact was not as it should be.
  def keep_facts
    directory new_resource.nodeinfo do
      recursive true
      owner new_resource.user if new_resource.user
      mode '0755'
    end

    given = Presence::Nodeinfo::PROPERTIES.reject { |property, _| new_resource.public_send(property).nil? }
    converge_if_changed(*given.keys, *(new_resource.facts.empty? ? [] : [:facts])) do
      facts = given.to_h { |property, fact| [fact, new_resource.public_send(property)] }
      Presence::Nodeinfo.change(new_resource.nodeinfo, facts.merge(new_resource.facts), node.name)
    end
  end

  def current_state
    Presence::Nodeinfo.read(new_resource.nodeinfo)['state'].to_s
  end

  # Puts the node in that state and publishes it. True if there was something to do.
  def enter(state)
    return publish if current_state == state

    converge_by("set the state of #{new_resource.instance_id} to #{state} (was #{current_state.inspect})") do
      outcome = presence_run(Presence::Command.state(presence_at, state))
      # presence sets the state first, then publishes it.
      stated = current_state == state
      Presence::Nodeinfo.published(new_resource.nodeinfo) if succeeded?(outcome, repeated: stated)
    end
    true
  end

  # True if a store did not have this node's record as it is.
  def publish
    unless whyrun_mode?
      return changes_the_list?(Presence::Command.publish(presence_at), 'unchanged') do
        Presence::Nodeinfo.published(new_resource.nodeinfo)
      end
    end

    listed = presence_can_run? && Presence::Record.listed?(
      presence_run(Presence::Command.emit(presence_at)), presence_run(Presence::Command.show(presence_at))
    )
    converge_by("publish the record of #{new_resource.instance_id}") {} unless listed
    !listed
  end

  # Runs a command that prints a line for each store. Only the command itself finds out whether there is anything to do,
  # so the report comes after the fact. The block is called after a success.
  def changes_the_list?(argv, nothing_done, repeated: true)
    outcome = presence_run(argv)
    return false unless succeeded?(outcome, repeated: repeated)

    yield
    done = Presence::Mask.urls(outcome.stdout).lines.map(&:chomp).reject { |line| line.end_with?(": #{nothing_done}") }
    converge_by(done) {} unless done.empty?
    done.any?
  end

  # Raises the error of a failed command, or warns of it. Only the failure of a store can be a warning: a heartbeat, or
  # the next run, repeats what failed. If the record cannot be made, the fault is on this node.
  def succeeded?(outcome, repeated:)
    return true if outcome.success?
    raise outcome.error unless repeated && [Presence::Failed, Presence::Refused].include?(outcome.error.class) && warn?
    raise outcome.error unless presence_run(Presence::Command.emit(presence_at)).success?

    Chef::Log.warn("#{new_resource}: #{outcome.error.message}")
    false
  end

  # A node that was published is still on the list; heartbeats publish one that was not.
  def warn?
    return new_resource.on_failure == :warn unless new_resource.on_failure == :auto

    Presence::Nodeinfo.published?(new_resource.nodeinfo) || beats?
  end

  # Whether this run, or an earlier one, schedules heartbeats with this configuration.
  def beats?
    agents = run_context.root_run_context.resource_collection.select { |resource| resource.declared_type == :presence_agent }
    agents.any? { |agent| agent.config == new_resource.config && agent.schedule != :none && !agent.action.include?(:delete) }
  end

  # Withdraws the ids that this node had before. The one that fails is withdrawn in the next run.
  def withdraw_former
    Presence::Nodeinfo.former(new_resource.nodeinfo).each do |id|
      converge_by("withdraw #{id}, which this node was before") do
        outcome = presence_run(Presence::Command.withdraw(presence_at, id: id))
        Presence::Nodeinfo.withdrawn(new_resource.nodeinfo, id) if succeeded?(outcome, repeated: true)
      end
    end
  end

  # The record that is saved with the node. Ohai read the facts before this resource wrote them.
  def save_record
    return if whyrun_mode? || new_resource.nodeinfo != (node.read('presence', 'nodeinfo') || Presence::Nodeinfo.default_folder)

    emitted = presence_run(Presence::Command.emit(presence_at))
    node.automatic['presence_node']['record'] = JSON.parse(emitted.stdout).fetch('value', {}) if emitted.success?
  rescue JSON::ParserError
    Chef::Log.warn("#{new_resource}: `presence emit` did not print JSON, so node['presence_node'] is not complete")
  end

  # What this resource did is not in the list that recipes have read.
  def forget_roster(changed)
    node.run_state.delete('presence_roster') if changed
    save_record
  end

  # Runs the block if this node is registered at all.
  def if_registered
    if ::Dir.exist?(new_resource.nodeinfo)
      forget_roster(yield)
    else
      Chef::Log.warn("#{new_resource}: there are no facts in #{new_resource.nodeinfo}, so this node is on no list")
    end
  end
end

action :register, description: 'Writes the facts and puts this node on the list.' do
  changed = keep_facts
  state = new_resource.state
  state ||= 'done' if ['', 'presetup', 'setup'].include?(current_state)
  published = state ? enter(state) : publish
  withdraw_former
  forget_roster(changed || published)
end

action :drain, description: 'Takes no new work: templates give this node no new clients.' do
  if_registered { %w(drained decommissioned).include?(current_state) ? publish : enter('draining') }
end

action :wedge, description: 'States that this node cannot work: nobody uses it.' do
  if_registered { enter('wedged') }
end

action :withdraw, description: 'Takes this node off the list. Its facts stay, and `:register` puts it back.' do
  if_registered do
    if whyrun_mode?
      converge_by("withdraw #{new_resource.instance_id}") {}
      true
    else
      # No heartbeat repeats a withdrawal, so this is a warning only if the recipe asks for it.
      changes_the_list?(
        Presence::Command.withdraw(presence_at), 'not on the list', repeated: new_resource.on_failure == :warn
      ) { Presence::Nodeinfo.unpublished(new_resource.nodeinfo) }
    end
  end
end
