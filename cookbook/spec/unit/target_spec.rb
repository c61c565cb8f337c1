# frozen_string_literal: true

RSpec.describe Presence::Target do
  let(:file) { File.join(scratch, 'x.cfg') }

  it 'sees a file as people call it' do
    expect(described_class.look(file)).to be_nil
    File.write(file, "a\n")
    File.chmod(0o640, file)
    seen = described_class.look(file)
    expect(seen).to have_attributes(content: "a\n", mode: '0640', owner: Etc.getpwuid(Process.euid).name)
    expect(described_class.look(file)).to eq seen
    File.chmod(0o600, file)
    expect(described_class.moves(seen, described_class.look(file))).to eq ['  set mode to 0600 (was 0640)']
  end

  it 'leaves what is no file to presence' do
    File.symlink('/etc/passwd', file)
    expect(described_class.look(file)).to be_nil
    expect(described_class.look("#{file}/below")).to be_nil
  end

  it 'writes modes and owners in one way' do
    expect([0o644, '644', '0644'].map { |mode| described_class.mode(mode) }.uniq).to eq ['0644']
    expect(described_class.user(0)).to eq 'root'
    expect(described_class.user('0')).to eq 'root'
    expect(described_class.user('nobody-here')).to eq 'nobody-here'
    expect(described_class.group(4_000_000)).to eq '4000000'
  end
end
