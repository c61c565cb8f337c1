# frozen_string_literal: true

control 'removal' do
  title 'Nothing is left'

  %w(/etc/cron.d/presence /etc/presence/presence.toml /etc/presence/database.yml /srv/presence/list/leaves.json).each do |path|
    describe file(path) do
      it { should_not exist }
    end
  end
end
