# frozen_string_literal: true

RSpec.describe Presence::Run do
  it 'never asks a shell' do
    expect(run(['echo', '$HOME; exit 1', '*']).stdout).to eq "$HOME; exit 1 *\n"
    expect { described_class.call('echo x') }.to raise_error ArgumentError
    expect { described_class.call(['echo x']) }.to raise_error ArgumentError
  end

  it 'ends what does not end by itself' do
    expect { described_class.call(%w(sleep 60), timeout: 1) }.to raise_error(Presence::TimedOut, /`sleep 60` did not end within 1 seconds/)
  end

  it 'says which program is missing' do
    expect { described_class.call(%w(/nowhere/presence emit)) }.to raise_error(Presence::Missing, %r{/nowhere/presence})
    expect(described_class.which('/nowhere/presence')).to be_nil
    expect(described_class.which('sh')).to match(%r{/sh\z})
  end

  it 'finds programs where cron does not look' do
    path = run(%w(printenv PATH)).stdout.split(':').map(&:chomp)
    expect(path).to include('/usr/local/bin', '/usr/sbin')
  end

  {
    1 => Presence::Failed, 2 => Presence::Failed, 3 => Presence::Refused, 4 => Presence::CheckRefused, 5 => Presence::ReloadFailed
  }.each do |code, kind|
    it "knows what the exit code #{code} means" do
      outcome = run(['sh', '-c', "echo 'error: so it is' >&2; exit #{code}"])
      expect(outcome).not_to be_success
      expect(outcome.refused?).to be(code == 3)
      expect(outcome.error).to be_a(kind).and have_attributes(message: /exit code #{code}: error: so it is/)
    end
  end

  it 'hands on warnings' do
    outcome = run(['sh', '-c', 'echo "warning: one store is down" >&2; echo note >&2'])
    expect(outcome.warnings).to eq ['one store is down']
  end

  it 'reads UTF-8, and survives what is none' do
    expect(run(['printf', '\303\274\377']).stdout).to eq "ü\u{fffd}"
  end

  it 'does not show what is not to be shown' do
    outcome = described_class.call(%w(false --set=password=x), shown: 'false (its arguments are sensitive)')
    expect(outcome.error.message).not_to include('password')
  end
end
