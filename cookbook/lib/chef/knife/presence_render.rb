# frozen_string_literal: true

require_relative 'presence/base'

class Chef
  class Knife
    # What a node of some part would get.
    class PresenceRender < Knife
      include PresenceBase

      banner 'knife presence render TEMPLATE (options)'

      %i(part stacktype deployment).each do |fact|
        option fact, long: "--#{fact} #{fact.to_s.upcase}", description: "Stand in for a node of this #{fact}"
      end

      option :set,
             long: '--set KEY=VALUE',
             description: 'Set a template variable; may be given more than once',
             proc: PresenceBase::EACH

      option :template_dir,
             long: '--template-dir DIR',
             description: 'Look for templates here first; may be given more than once',
             proc: PresenceBase::EACH

      def run
        usage!('Say which template, for example haproxy') if name_args.empty?

        template = name_args.first
        rendering = Presence::Command.render(
          at, template,
          part: config[:part], stacktype: config[:stacktype], deployment: config[:deployment],
          variables: pairs(config[:set]), template_dirs: config[:template_dir] || []
        )
        # As it is, so that `knife presence render haproxy > haproxy.cfg` is the file.
        answer(rendering) { |text| data? ? output(template => text) : ui.stdout.print(text) }
      end
    end
  end
end
