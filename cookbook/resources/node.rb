# frozen_string_literal: true

provides :presence_node

unified_mode true

description "Keeps this node's facts, and its place on the list."

use 'partial/_connection'

property :instance_id, String,
         default: lazy { Presence::Nodeinfo.instance_id(nodeinfo, node.name) },
         regex: Presence::Nodeinfo::INSTANCE_ID,
         description: 'What the node is known by, unlike every other one.'

property :part, String,
         description: 'The part that it plays, for example `app1`.'

property :stacktype, String,
         description: 'The stacktype that it is in, for example `lad1`.'

property :deployment, String,
         description: 'The deployment that it is in.'

property :address, String,
         description: 'Where it answers, if not at the address of its default route.'

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
      presence_run!(Presence::Command.state(presence_at, state))
    end
    true
  end

  # True if a store did not have this node's record as it is.
  def publish
    return changes_the_list?(Presence::Command.publish(presence_at), 'unchanged') unless whyrun_mode?

    listed = presence_can_run? && Presence::Record.listed?(
      presence_run(Presence::Command.emit(presence_at)), presence_run(Presence::Command.show(presence_at))
    )
    converge_by("publish the record of #{new_resource.instance_id}") {} unless listed
    !listed
  end

  # Runs a command that says for each store what it did there. It cannot be known beforehand whether it will do
  # anything, so the report comes after the fact.
  def changes_the_list?(argv, nothing_done)
    done = presence_run!(argv).stdout.lines.map(&:chomp).reject { |line| line.end_with?(": #{nothing_done}") }
    converge_by(done) {} unless done.empty?
    done.any?
  end

  # Runs the block if this node is registered at all.
  def if_registered
    if ::Dir.exist?(new_resource.nodeinfo)
      presence_reload_ohai(yield)
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
  presence_reload_ohai(changed || published)
end

action :drain, description: 'Takes no new work: templates give this node no new clients.' do
  if_registered { %w(drained decommissioned).include?(current_state) ? publish : enter('draining') }
end

action :wedge, description: 'Says that this node cannot work: nobody is to use it.' do
  if_registered { enter('wedged') }
end

action :withdraw, description: 'Takes this node off the list. Its facts stay, and `:register` puts it back.' do
  if_registered do
    if whyrun_mode?
      converge_by("withdraw #{new_resource.instance_id}") {}
      true
    else
      changes_the_list?(Presence::Command.withdraw(presence_at), 'not on the list')
    end
  end
end
