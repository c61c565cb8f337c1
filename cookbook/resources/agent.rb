# frozen_string_literal: true

provides :presence_agent

unified_mode true

introduced '0.1.0'

description 'Keeps this node on the list, and its files up to date, between two runs of Chef: writes presence.toml and schedules `presence beat`.'

use 'partial/_connection'

property :service_name, String,
         name_property: true,
         regex: /\A[A-Za-z0-9_-]+\z/,
         description: 'The name of the systemd units, or of the file in `/etc/cron.d`.'

property :schedule, [String, Symbol],
         equal_to: %i(systemd cron none),
         coerce: proc(&:to_sym),
         default: lazy { node.read('presence', 'schedule') || (presence_systemd? ? :systemd : :cron) },
         description: 'The scheduler of the heartbeats: a systemd timer, cron, or none (then only the configuration is written).'

property :interval, Integer,
         default: lazy { node.read('presence', 'interval') || 60 },
         description: 'Seconds between two heartbeats.'

property :splay, Integer,
         default: lazy { node.read('presence', 'splay') || 30 },
         description: 'Seconds over which nodes spread their heartbeats, so that a fleet does not ask its store all at once.'

property :delay_after_boot, [String, Integer],
         default: 0,
         description: 'The time between the boot and the first heartbeat of a systemd timer, in seconds or as a time span of systemd.'

property :environment, Hash,
         default: {},
         sensitive: true,
         coerce: proc { |environment| environment.to_h { |name, value| [name.to_s, value.to_s] } },
         description: 'Environment variables of the heartbeats.'

property :nice, Integer,
         callbacks: { 'is between -20 and 19' => ->(nice) { nice.between?(-20, 19) } },
         description: 'The nice value of the heartbeats.'

property :mailto, String,
         description: 'The address to which cron mails errors.'

property :log, String,
         description: 'The file that heartbeats append their messages to. None: the journal, or mail from cron.'

property :targets, Array,
         default: [],
         sensitive: true,
         coerce: proc { |targets| targets.map { |target| Presence::Target.table(target) } },
         description: 'The files to keep up to date: Hashes with the properties of a `presence_config`, with at least `template` and `path`.'

property :settings, Hash,
         default: {},
         sensitive: true,
         description: 'Anything else for presence.toml, for example `vars`, `states`, `limits` and `timeouts`.'

property :group, String,
         description: 'A group that may read the configuration.'

property :sensitive, [true, false],
         default: lazy { presence_sensitive?(true) },
         desired_state: false,
         description: 'Whether the log has no content of the files that may have secrets.'

action_class do
  include Presence::Acting

  # Whether the program knows heartbeats. In why-run it may not be there yet.
  def beats?
    return true if whyrun_mode? && Presence::Run.which(new_resource.program).nil?

    able = presence_run(Presence::Command.help(presence_at, 'beat')).success?
    Chef::Log.warn("#{new_resource}: this presence has no `beat` yet, so nothing is scheduled") unless able
    able
  end

  # With the configuration file and no option beside it: the timer runs what an administrator runs by hand.
  def beat
    program = Presence::Run.which(new_resource.program) || new_resource.program
    # A log file gets everything; the journal and mail only what failed.
    Presence::Command.beat(Presence::Connection.new(program: program, config: new_resource.config), quiet: new_resource.log.nil?)
  end

  def configure
    [::File.dirname(new_resource.config), new_resource.nodeinfo].each do |dir|
      directory dir do
        recursive true
      end
    end

    understood = method(:understood?)
    template new_resource.config do
      cookbook 'presence'
      source 'presence.toml.erb'
      variables(
        agent: new_resource.name,
        credentials: credentials,
        settings: render_toml(Presence::Agent.configuration(presence_at, new_resource.targets, new_resource.settings))
      )
      owner new_resource.user if new_resource.user
      group new_resource.group if new_resource.group
      # Variables and URLs may be secrets.
      mode new_resource.group ? '0640' : '0600'
      sensitive new_resource.sensitive
      verify { |path| understood.call(path) }
    end
  end

  # The tables that `presence_credential` has written into the file.
  def credentials
    return '' unless ::File.exist?(new_resource.config)

    Presence::Credential.tables(::File.read(new_resource.config, encoding: Encoding::UTF_8))
  end

  # A file that presence does not understand would stop every command on this node, so it is not used.
  def understood?(path)
    return true if whyrun_mode?

    # The file is not the user's yet.
    at = Presence::Connection.new(program: new_resource.program, config: path)
    outcome = Presence::Run.call(Presence::Command.templates(at), timeout: new_resource.timeout)
    Chef::Log.error("#{new_resource}: #{outcome.error.message}") unless outcome.success?
    outcome.success?
  end

  # Everybody may read a unit, so it has no environment.
  def environment_file
    ::File.join(::File.dirname(new_resource.config), "#{new_resource.service_name}.env") unless new_resource.environment.empty?
  end

  def start_timer
    write_environment
    units = {
      'service' => Presence::Agent.service_unit(
        beat, user: new_resource.user, nice: new_resource.nice, environment_file: environment_file, log: new_resource.log
      ),
      'timer' => Presence::Agent.timer_unit(new_resource.interval, new_resource.splay, new_resource.delay_after_boot),
    }
    units.each do |kind, unit|
      systemd_unit "#{new_resource.service_name}.#{kind}" do
        content unit
        # While an image is built, units can be written and enabled, and nothing more.
        triggers_reload presence_systemd?
        verify presence_systemd?
        action({ 'service' => %i(create), 'timer' => presence_systemd? ? %i(create enable start) : %i(create enable) }[kind])
      end
    end
  end

  def write_environment
    return if environment_file.nil?

    lines = new_resource.environment.map { |name, value| "#{name}=\"#{value.gsub(/[\\"$`]/) { |character| "\\#{character}" }}\"\n" }
    file environment_file do
      content lines.join
      mode '0600'
      sensitive new_resource.sensitive
    end
  end

  def stop_timer
    %w(timer service).each do |kind|
      systemd_unit "#{new_resource.service_name}.#{kind}" do
        triggers_reload presence_systemd?
        action presence_systemd? ? %i(stop disable delete) : %i(delete)
        only_if { ::File.exist?("/etc/systemd/system/#{new_resource.service_name}.#{kind}") }
      end
    end
    file ::File.join(::File.dirname(new_resource.config), "#{new_resource.service_name}.env") do
      action :delete
    end
  end

  def start_cron
    install_cron
    directory '/etc/cron.d'

    argv = beat
    cron_d new_resource.service_name do
      minute Presence::Agent.cron_minute(new_resource.interval)
      path Presence::Run::DEFAULT_PATH.join(':')
      user new_resource.user if new_resource.user
      mailto new_resource.mailto if new_resource.mailto
      environment new_resource.environment
      # The environment may have secrets.
      mode '0600'
      sensitive new_resource.sensitive
      command Presence::Agent.cron_command(
        argv, Presence::Agent.share(node.name, new_resource.splay), log: new_resource.log, nice: new_resource.nice
      )
    end
  end

  # Without cron, nothing runs what is in /etc/cron.d.
  def install_cron
    return if Presence::Run.which('crond') || Presence::Run.which('cron')

    package platform_family?('debian') ? 'cron' : 'cronie'
    service platform_family?('debian') ? 'cron' : 'crond' do
      action %i(enable start)
      only_if { presence_systemd? }
    end
  end

  def stop_cron
    cron_d new_resource.service_name do
      action :delete
    end
  end
end

action :create, description: 'Writes the configuration and schedules heartbeats.' do
  configure
  schedule = beats? ? new_resource.schedule : :none

  schedule == :systemd ? start_timer : stop_timer
  schedule == :cron ? start_cron : stop_cron
end

action :delete, description: 'Ends the heartbeats and removes the configuration.' do
  stop_timer
  stop_cron

  file new_resource.config do
    action :delete
  end
end
