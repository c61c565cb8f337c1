# frozen_string_literal: true

provides :presence_credential

unified_mode true

introduced '0.1.0'

description 'Gives presence the key or login of a store: writes it into files, and names them in presence.toml.'

property :url, String,
         name_property: true,
         description: 'The repositories at and below this URL, for example `ssh://git@git.example.net`.'

property :ssh_key, String,
         sensitive: true,
         description: 'The private key for ssh.'

property :known_hosts, [String, Array],
         coerce: proc { |lines| Array(lines).map { |line| "#{line.chomp}\n" }.join },
         description: 'The host keys for ssh: lines of known_hosts, as `ssh-keyscan` prints them.'

property :token, String,
         sensitive: true,
         description: 'The token for https.'

property :login, String,
         sensitive: true,
         regex: /\A[^:\s]+:[^\n]+\z/,
         description: 'The user and password for https, `USER:PASSWORD`.'

property :user, [String, nil],
         default: lazy { node.read('presence', 'user') },
         desired_state: false,
         description: 'The user that runs presence, and owns the files.'

property :group, String,
         description: 'A group that may read token and login, and the configuration, which then have mode 0640.'

property :config, String,
         default: lazy { presence_config_file },
         desired_state: false,
         description: 'The configuration file.'

property :sensitive, [true, false],
         default: true,
         desired_state: false,
         description: 'Whether the log has no content of the files.'

action_class do
  # The files below the folder of the configuration, for each key of the `[[credential]]` table.
  def files
    folder = ::File.join(::File.dirname(new_resource.config), 'credentials', Presence::Credential.folder(new_resource.url))
    Presence::Credential::FILES.to_h { |property, name| [property, ::File.join(folder, name)] }
  end

  # A text that presence and ssh read to its last line.
  def text(property)
    value = new_resource.public_send(property)
    value.nil? || value.end_with?("\n") ? value : "#{value}\n"
  end

  def write_files
    folders = [::File.dirname(new_resource.config)]
    folders << ::File.join(folders.first, 'credentials') << ::File.dirname(files.values.first)
    folders.each do |folder|
      directory folder do
        recursive true
      end
    end

    files.each do |property, path|
      content = text(property)
      # ssh refuses a key that a group may read.
      shared = new_resource.group && property != :ssh_key
      file path do
        sensitive new_resource.sensitive
        content content
        owner new_resource.user if new_resource.user
        group new_resource.group if shared
        mode shared ? '0640' : '0600'
        action content.nil? ? :delete : :create
      end
    end
  end

  def read_configuration
    ::File.exist?(new_resource.config) ? ::File.read(new_resource.config, encoding: Encoding::UTF_8) : ''
  end

  # Changes only the table of this credential. `presence_agent` writes the rest of the file, and keeps these tables.
  def change_configuration(text)
    file new_resource.config do
      sensitive new_resource.sensitive
      content text
      owner new_resource.user if new_resource.user
      group new_resource.group if new_resource.group
      # An existing file has the mode that its owner chose.
      mode new_resource.group ? '0640' : '0600' unless ::File.exist?(new_resource.config)
    end
  end
end

action :create, description: 'Writes the files, and their table in the configuration.' do
  given = files.reject { |property, _| new_resource.public_send(property).nil? }
  raise Presence::Error, "#{new_resource}: `ssh_key`, `known_hosts`, `token` or `login` is required" if given.empty?

  write_files
  change_configuration(Presence::Credential.add(read_configuration, new_resource.url, given))
end

action :delete, description: 'Removes the files, and their table from the configuration.' do
  directory ::File.dirname(files.values.first) do
    recursive true
    action :delete
  end

  change_configuration(Presence::Credential.remove(read_configuration, new_resource.url)) if ::File.exist?(new_resource.config)
end
