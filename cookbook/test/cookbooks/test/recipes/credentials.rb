# frozen_string_literal: true

# Keys and logins of stores. The agent keeps their tables.
include_recipe 'test::install'

presence_credential 'ssh://git@git.example.net' do
  ssh_key "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----"
  known_hosts 'git.example.net ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1v'
end

presence_credential 'https://git.example.net/team' do
  token 'hunter22'
end

presence_credential 'https://git.example.org' do
  login 'deploy:hunter22'
end

include_recipe 'presence::db'
