# frozen_string_literal: true

provides :presence_config

unified_mode true

introduced '0.1.0'

description 'Renders a file from a template and the nodes on the list.'

use 'partial/_connection'

property :path, String,
         name_property: true,
         description: 'The file.'

property :template, String,
         default: lazy { ::File.basename(path) },
         desired_state: false,
         description: "The template's name, with or without its last extension. `presence templates` lists them."

property :owner, [String, Integer],
         coerce: proc { |owner| owner && Presence::Target.user(owner) },
         description: 'The user that the file belongs to.'

property :group, [String, Integer],
         coerce: proc { |group| group && Presence::Target.group(group) },
         description: 'The group that the file belongs to.'

property :mode, [String, Integer],
         coerce: proc { |mode| mode && Presence::Target.mode(mode) },
         callbacks: { "is an octal mode, such as '0640'" => ->(mode) { mode.nil? || mode.match?(/\A[0-7]{4}\z/) } },
         description: 'The mode of the file.'

property :check, [String, Array],
         desired_state: false,
         description: 'A command that must succeed on the new file before it is used; `{}` is the file. It never meets a shell.'

property :reload, [String, Array],
         desired_state: false,
         description: 'A command that presence itself runs after the file was replaced, and again in the next run if it fails. Where `notifies` will do, use that.'

property :variables, Hash,
         default: {},
         desired_state: false,
         sensitive: true,
         coerce: proc { |variables| variables.to_h { |key, value| [key.to_s, value.to_s] } },
         description: 'Variables for the template.'

property :sensitive, [true, false],
         default: lazy { presence_sensitive?(!variables.empty? || private?) },
         desired_state: false,
         description: "Whether the log has neither the file's content nor the values of the variables."

property :min_nodes, Integer,
         desired_state: false,
         description: 'Refuse fewer active nodes than this, for any part that the template asks for.'

property :max_shrink, Integer,
         desired_state: false,
         callbacks: { 'is a percentage' => ->(percent) { percent.between?(0, 100) } },
         description: "Refuse a loss of more than this percentage of the last good output's active nodes."

property :max_age, String,
         desired_state: false,
         description: 'Treat nodes without a sign of life for longer as absent: `90s`, `5m`, `2h`, `1d`.'

property :wait_for_nodes, String,
         desired_state: false,
         description: 'Make no file before an active node of these parts is in scope, for example `db*`.'

property :on_refusal, Symbol,
         equal_to: %i(warn raise),
         default: :warn,
         desired_state: false,
         description: 'The reaction if a safety limit refuses the change, or no store can be read: `:warn` or `:raise`. The file stays as it is.'

property :force, [true, false],
         default: false,
         desired_state: false,
         description: 'Override the safety limits.'

property :part, String,
         desired_state: false,
         description: 'Stand in for a node of this part.'

property :stacktype, String,
         desired_state: false,
         description: 'Stand in for a node of this stacktype.'

property :deployment, String,
         desired_state: false,
         description: 'Stand in for a node of this deployment.'

property :template_dirs, [String, Array],
         default: [],
         coerce: proc { |dirs| Array(dirs) },
         desired_state: false,
         description: 'The folders of templates that come before `/etc/presence/templates` and the built-in ones.'

# A file that everybody may read has no secrets.
def private?
  !mode.nil? && mode.match?(/\A[0-7]{4}\z/) && (mode.to_i(8) & 0o004) == 0
end

load_current_value do |new_resource|
  target = Presence::Target.look(new_resource.path)
  current_value_does_not_exist! if target.nil?

  owner target.owner
  group target.group
  mode target.mode
end

action_class do
  include Presence::Acting

  # Runs `presence render`. Everybody on the machine can read a command line, so the variables are in a file.
  def run_render(diff: false)
    with_variables do |vars_file|
      presence_run(command(vars_file, diff), secrets: new_resource.sensitive ? new_resource.variables.values : [])
    end
  end

  def with_variables
    return yield(nil) if new_resource.variables.empty?

    Tempfile.create(%w(presence .json)) do |file|
      file.write(JSON.generate(new_resource.variables))
      file.flush
      file.chown(Etc.getpwnam(new_resource.user).uid, nil) if new_resource.user
      yield(file.path)
    end
  end

  def command(vars_file, diff)
    Presence::Command.render(
      presence_at, new_resource.template,
      output: new_resource.path, mode: new_resource.mode, owner: ownership, check: new_resource.check,
      reload: new_resource.reload, vars_file: vars_file, min_nodes: new_resource.min_nodes,
      max_shrink: new_resource.max_shrink, max_age: new_resource.max_age, wait_for_nodes: new_resource.wait_for_nodes,
      force: new_resource.force, diff: diff,
      part: new_resource.part, stacktype: new_resource.stacktype, deployment: new_resource.deployment,
      template_dirs: new_resource.template_dirs
    )
  end

  # Presence takes USER or USER:GROUP: a group alone goes with the owner that the file has, or will get.
  def ownership
    return new_resource.owner if new_resource.group.nil?

    "#{new_resource.owner || current_resource&.owner || Process.euid}:#{new_resource.group}"
  end

  # Reports what presence would do. A file that depends on an earlier resource of this run is assumed to change.
  def preview
    outcome = run_render(diff: true) if presence_can_run?
    if outcome.nil? || !(outcome.success? || outcome.refused?)
      converge_by("render #{new_resource.template} into #{new_resource.path}, which cannot be shown yet") {}
    elsif outcome.refused?
      Chef::Log.warn("#{new_resource}: #{outcome.error.message}")
    elsif !outcome.stdout.empty?
      report(outcome.stdout.lines.map(&:chomp))
    else
      converge_if_changed(*%i(owner group mode).reject { |property| new_resource.public_send(property).nil? }) {}
    end
  end

  def render
    before = Presence::Target.look(new_resource.path)
    outcome = run_render
    after = Presence::Target.look(new_resource.path)
    report(differences(before, after)) unless before == after
    return if outcome.success?
    raise outcome.error unless outcome.refused? && new_resource.on_refusal == :warn

    Chef::Log.warn("#{new_resource}: #{outcome.error.message}")
  end

  # As a `template` shows them.
  def differences(before, after)
    return ['the file is gone'] if after.nil?
    return Presence::Target.moves(before, after) if before&.content == after.content

    Tempfile.create('presence') do |old|
      old.binmode
      old.write(before&.content)
      old.flush
      diff = Chef::Util::Diff.new
      diff.diff(old.path, new_resource.path)
      diff.for_output
    end
  end

  # The file changed, or would: this is what makes the resource an updated one.
  def report(details)
    details = ['suppressed sensitive resource'] if new_resource.sensitive
    converge_by(["render #{new_resource.template} into #{new_resource.path}", details]) {}
  end
end

action :create, description: 'Renders the file, if its content would change.' do
  whyrun_mode? ? preview : render
end

action :delete, description: 'Removes the file.' do
  file new_resource.path do
    action :delete
  end
end
