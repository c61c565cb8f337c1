# frozen_string_literal: true

# Where presence comes from. Neither source nor version: it is installed already.
default['presence']['binary'] = nil # a program on this machine; it is copied to /usr/local/bin/presence
default['presence']['package'] = nil # a .deb or .rpm, or the URL of one or of a program
default['presence']['kind'] = nil # binary, deb or rpm; nil: by the name
default['presence']['checksum'] = nil # its SHA-256; needed for a URL
default['presence']['version'] = nil # the version in a configured package repository, or `any`

# The options of presence. Nil: its own default.
default['presence']['store'] = nil # one store, or several in an array
default['presence']['folder'] = nil
default['presence']['nodeinfo'] = nil
default['presence']['state_dir'] = nil
default['presence']['config'] = nil
default['presence']['user'] = nil # the user that runs presence; nil: the one that runs Chef

# This node's facts. The recipes lb, app and db have a part and a port of their own for nodes without.
default['presence']['instance_id'] = nil # the node's name
default['presence']['part'] = nil
default['presence']['stacktype'] = nil
default['presence']['deployment'] = nil # Chef's environment is not used
default['presence']['address'] = nil
default['presence']['port'] = nil
default['presence']['facts'] = {}

# Between two runs of Chef: systemd, cron or none. Nil: systemd if it runs, else cron.
default['presence']['schedule'] = nil
default['presence']['interval'] = nil # seconds between two heartbeats; nil: 60
default['presence']['splay'] = nil # seconds over which the fleet spreads them; nil: 30

# If no store takes the record: warn or raise. Nil: warn if the node was published before, or has heartbeats.
default['presence']['on_failure'] = nil

# Whether the log hides contents. Nil: for presence.toml, for files with variables, and for files that not everybody
# may read.
default['presence']['sensitive'] = nil

# recipe[presence::lb]
default['presence']['haproxy']['config'] = '/etc/haproxy/haproxy.cfg'
default['presence']['haproxy']['variables'] = {} # variables of the template
default['presence']['haproxy']['manage_service'] = nil # true or false; nil: if systemd runs

# recipe[presence::app]
default['presence']['database']['config'] = '/etc/presence/database.yml'
default['presence']['database']['template'] = 'database.yml'
default['presence']['database']['owner'] = nil # USER, or USER:GROUP in numbers or names
default['presence']['database']['variables'] = {} # variables of the template
