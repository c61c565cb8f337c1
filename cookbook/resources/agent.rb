# frozen_string_literal: true

provides :presence_agent

unified_mode true

description 'Keeps this node on the list, and its files up to date, between two runs of Chef: writes presence.toml and has `presence beat` run in time.'

use 'partial/_connection'

property :service_name, String,
         name_property: true,
         regex: /\A[A-Za-z0-9_-]+\z/,
         description: 'The name of the systemd units, or of the file in `/etc/cron.d`.'

property :schedule, Symbol,
         equal_to: %i(systemd cron none),
         coerce: proc(&:to_sym),
         default: lazy { presence_setting('schedule') || (presence_systemd? ? :systemd : :cron) },
         description: 'What has the heartbeats run: a systemd timer, cron, or nobody (then only the configuration is written).'

property :interval, Integer,
         default: 60,
         description: 'Seconds between two heartbeats.'

property :jitter, Integer,
         default: 30,
         description: 'Seconds over which nodes spread their heartbeats, so that a fleet does not ask its store all at once.'

property :targets, Array,
         default: [],
         coerce: proc { |targets| targets.map { |target| Presence::Agent.target(target) } },
         description: 'The files to keep up to date: Hashes of what a `presence_config` would be told, with at least `template` and `path`.'

property :settings, Hash,
         default: {},
         description: 'Anything else for presence.toml, for example `vars`, `states`, `limits` and `timeouts`.'

action_class do
  include Presence::Acting

  # Whether the program knows heartbeats. In why-run it may not be there yet.
  def beats?
    return true if whyrun_mode? && Presence::Run.which(new_resource.program).nil?

    able = presence_run(Presence::Command.help(presence_at, 'beat')).success?
    Chef::Log.warn("#{new_resource}: this presence has no `beat` yet, so nothing is scheduled") unless able
    able
  end

  # With the configuration file and no flag beside it: what an administrator runs by hand is what the timer runs.
  def beat
    program = Presence::Run.which(new_resource.program) || new_resource.program
    Presence::Command.beat(Presence::Connection.new(program: program, config: new_resource.config))
  end

  def configuration(targets)
    Presence::Toml.dump(Presence::Agent.configuration(presence_at, targets, new_resource.settings))
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
      variables(agent: new_resource.name, settings: configuration(known_targets))
      mode '0644'
      verify { |path| understood.call(path) }
    end
  end

  # The targets, unless the program is older than they are: then it can still beat.
  def known_targets
    return new_resource.targets if whyrun_mode? || new_resource.targets.empty?

    complaint = Tempfile.create(['presence', '.toml']) do |file|
      file.write(configuration(new_resource.targets))
      file.flush
      try(file.path).stderr
    end
    return new_resource.targets unless complaint.include?(Presence::Agent::NO_TARGETS)

    Chef::Log.warn("#{new_resource}: this presence keeps no files up to date yet; only Chef does")
    []
  end

  # A file that presence does not understand would stop every command on this node, so it never gets into place.
  def understood?(path)
    return true if whyrun_mode?

    outcome = try(path)
    Chef::Log.error("#{new_resource}: #{outcome.error.message}") unless outcome.success?
    outcome.success?
  end

  def try(path)
    presence_run(Presence::Command.templates(Presence::Connection.new(program: new_resource.program, config: path)))
  end

  def start_timer
    units = {
      'service' => Presence::Schedule.service_unit(beat),
      'timer' => Presence::Schedule.timer_unit(new_resource.interval, new_resource.jitter),
    }
    units.each do |kind, unit|
      systemd_unit "#{new_resource.service_name}.#{kind}" do
        content unit
        # Offline, as while an image is built, units can be written and enabled, and nothing more.
        triggers_reload presence_systemd?
        verify presence_systemd?
        action({ 'service' => %i(create), 'timer' => presence_systemd? ? %i(create enable start) : %i(create enable) }[kind])
      end
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
  end

  def start_cron
    directory '/etc/cron.d'

    argv = beat
    cron_d new_resource.service_name do
      minute Presence::Schedule.cron_minute(new_resource.interval)
      path Presence::Run::DEFAULT_PATH.join(':')
      command Presence::Schedule.cron_command(argv, Presence::Schedule.splay(node.name, new_resource.jitter))
    end
  end

  def stop_cron
    cron_d new_resource.service_name do
      action :delete
    end
  end
end

action :create, description: 'Writes the configuration and has heartbeats run.' do
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
