# frozen_string_literal: true

provides :presence_install

unified_mode true

introduced '0.1.0'

description 'Installs the presence program: from a configured package repository, a package file, a URL, or by copying a binary.'

property :source, String,
         description: 'A package file (.deb or .rpm) or a binary, as a path or as a URL. None: the package comes from a repository that the system knows.'

property :kind, [String, Symbol],
         equal_to: %i(binary deb rpm),
         coerce: proc(&:to_sym),
         default: lazy { source_kind },
         description: 'The kind of the source.'

property :checksum, String,
         regex: /\A\h{64}\z/,
         coerce: proc { |checksum| checksum&.downcase },
         description: 'The SHA-256 of the source. A URL must have one.'

property :version, String,
         description: 'The version of the package in the repository. None: any version that is installed, else the newest.'

property :path, String,
         default: '/usr/local/bin/presence',
         description: 'The path of a binary. A package has its own.'

property :package_name, String,
         default: 'presence',
         desired_state: false,
         description: 'The name of the package.'

def url?
  !source.nil? && source.match?(%r{\A[a-z][a-z0-9+.-]*://}i)
end

# The path of the source: a URL may have a query.
def source_path
  url? ? URI.parse(source).path.to_s : source.to_s
end

def source_kind
  { '.deb' => :deb, '.rpm' => :rpm }.fetch(::File.extname(source_path).downcase, :binary)
end

action_class do
  # The source as a file on this machine, checked. Nil if it does not exist yet in why-run.
  def fetch_source
    file = new_resource.url? ? download : new_resource.source
    unless ::File.file?(file)
      return if whyrun_mode?

      raise Presence::Error, "#{new_resource}: there is no file `#{file}` on this node; `source` names a file on the node, or a URL"
    end

    found = Digest::SHA256.file(file).hexdigest
    wanted = new_resource.checksum || found
    raise Presence::Error, "#{new_resource}: `#{file}` has the SHA-256 #{found}, not #{wanted}" unless found == wanted

    file
  end

  def download
    raise Presence::Error, "#{new_resource}: a program from a URL needs a `checksum`" if new_resource.checksum.nil?

    name = "#{new_resource.checksum[0, 12]}-#{::File.basename(new_resource.source_path)}"
    file = ::File.join(Chef::Config[:file_cache_path], name)
    remote_file file do
      source new_resource.source
      checksum new_resource.checksum
      mode '0600'
      # A URL may have a token in its query.
      sensitive true
    end
    file
  end

  def install_package(file)
    resource = { deb: :dpkg_package, rpm: :rpm_package }.fetch(new_resource.kind)
    declare_resource(resource, new_resource.package_name) do
      source file
      action :upgrade
    end
  end

  def install_from_repository
    package new_resource.package_name do
      version new_resource.version if new_resource.version
      action :install
    end
  end

  # A binary from before the package would hide it: /usr/local/bin comes first in PATH.
  def remove_binary
    file new_resource.path do
      action :delete
      only_if { new_resource.path.start_with?('/usr/local/') }
    end
  end

  # The new program must answer before it replaces the old one.
  def install_binary(file)
    judge = method(:presence?)
    remote_file new_resource.path do
      source "file://#{URI::DEFAULT_PARSER.escape(file)}"
      # With it, a program that is right already is not copied in order to be compared.
      checksum Digest::SHA256.file(file).hexdigest
      mode '0755'
      verify { |path| judge.call(path) }
    end
  end

  # Chef stages the file beside its target, without the right to run it.
  def presence?(path)
    ::File.chmod(0o700, path)
    outcome = Presence::Run.call([path, '--version'], timeout: 30)
    return true if outcome.success? && outcome.stdout.start_with?('presence ')

    Chef::Log.error("#{new_resource}: the source is not the program presence: it answered `--version` with exit code #{outcome.exitstatus}")
    false
  rescue Presence::Error, SystemCallError => e
    Chef::Log.error("#{new_resource}: the source is not a program for this machine: #{e.message}; `kind` states that it is a package")
    false
  end
end

action :install, description: 'Installs the program, or another version of it.' do
  if new_resource.source.nil?
    install_from_repository
    remove_binary
  else
    file = fetch_source
    if file.nil?
      converge_by("install presence from #{Presence::Mask.urls(new_resource.source)}") {}
    elsif new_resource.kind != :binary
      install_package(file)
      remove_binary
    elsif !::File.identical?(file, new_resource.path)
      install_binary(file)
    end
  end
end

action :remove, description: 'Removes the program, and the package if it is installed.' do
  file new_resource.path do
    action :delete
  end

  package new_resource.package_name do
    action :remove
  end
end
