# frozen_string_literal: true

provides :presence_install

unified_mode true

description 'Installs the presence program: from a package file, from a URL, or by copying a binary.'

property :source, String,
         required: [:install],
         description: 'A package file (.deb or .rpm) or a binary, as a path or as a URL.'

property :checksum, String,
         regex: /\A\h{64}\z/,
         coerce: proc { |checksum| checksum&.downcase },
         description: 'The SHA-256 of the source. A URL must have one.'

property :path, String,
         default: '/usr/local/bin/presence',
         description: 'Where a binary is put. A package puts it where it wants.'

property :package_name, String,
         default: 'presence',
         desired_state: false,
         description: 'The name of the package.'

action_class do
  def url?
    new_resource.source.match?(%r{\A[a-z][a-z0-9+.-]*://}i)
  end

  # The resource that installs a file of that name; nil for a binary.
  def package_resource
    { '.deb' => :dpkg_package, '.rpm' => :rpm_package }[::File.extname(new_resource.source)]
  end

  # The source as a file on this machine, checked. Nil if why-run knows of none yet.
  def fetch_source
    file = url? ? download : new_resource.source
    return if whyrun_mode? && !::File.exist?(file)

    found = Digest::SHA256.file(file).hexdigest
    wanted = new_resource.checksum || found
    raise Presence::Error, "`#{file}` has the SHA-256 #{found}, not #{wanted}" unless found == wanted

    file
  end

  def download
    raise Presence::Error, "#{new_resource}: a program from a URL needs a `checksum`" if new_resource.checksum.nil?

    file = ::File.join(Chef::Config[:file_cache_path], ::File.basename(URI.parse(new_resource.source).path))
    remote_file file do
      source new_resource.source
      checksum new_resource.checksum
    end
    file
  end
end

action :install, description: 'Installs the program, or another version of it.' do
  file = fetch_source
  if file.nil?
    converge_by("install presence from #{new_resource.source}") {}
  elsif package_resource
    declare_resource(package_resource, new_resource.package_name) do
      source file
      action :upgrade
    end
  elsif !::File.identical?(file, new_resource.path)
    remote_file new_resource.path do
      source "file://#{URI::DEFAULT_PARSER.escape(file)}"
      # With it, a program that is right already is not copied in order to be compared.
      checksum Digest::SHA256.file(file).hexdigest
      mode '0755'
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
