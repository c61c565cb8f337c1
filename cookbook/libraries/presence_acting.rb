# frozen_string_literal: true

module Presence
  # What the resources' actions share: how they call presence, and how they keep node['presence'] up to date.
  module Acting
    # Why-run must not fail for what an earlier resource of the same run would have made.
    def presence_can_run?
      !Presence::Run.which(new_resource.program).nil? && Presence::Nodeinfo.usable?(new_resource.nodeinfo)
    end

    def presence_at
      Presence::Connection.new(
        program: new_resource.program,
        config: (new_resource.config if ::File.exist?(new_resource.config)),
        # A folder that is named must be there; the usual one need not.
        nodeinfo: (new_resource.nodeinfo unless Presence::Nodeinfo.missing_default?(new_resource.nodeinfo)),
        store: new_resource.store,
        folder: new_resource.folder,
        state_dir: new_resource.state_dir
      )
    end

    # Runs a command line and hands on what the program warns of.
    def presence_run(argv)
      # Variables are on the command line, and may be secrets.
      shown = new_resource.sensitive ? "#{argv.first} (its arguments are sensitive)" : argv.join(' ')
      outcome = Presence::Run.call(argv, timeout: new_resource.timeout, shown: shown)
      outcome.warnings.each { |warning| Chef::Log.warn("#{new_resource}: #{warning}") }
      outcome
    end

    # Runs a command line that must succeed.
    def presence_run!(argv)
      outcome = presence_run(argv)
      raise outcome.error unless outcome.success?

      outcome
    end

    # Reads the facts again if they changed. If they did not, they may still have been read with other settings than
    # this resource's: Ohai ran before attributes were known.
    def presence_reload_ohai(changed)
      outdated = Presence::OhaiPlugin.configure(node, presence_at)
      if changed
        converge_by("have Ohai read node['presence'] again") { Presence::OhaiPlugin.reload(node) }
      elsif outdated && !whyrun_mode?
        Presence::OhaiPlugin.reload(node)
      end
    end
  end
end
