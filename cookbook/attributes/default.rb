# frozen_string_literal: true

# Where presence comes from. Neither: it is installed already.
default['presence']['binary'] = nil # a program on this machine; it is copied to /usr/local/bin/presence
default['presence']['package'] = nil # a .deb or .rpm, or the URL of one or of a program
default['presence']['checksum'] = nil # its SHA-256; needed for a URL

# What presence is told. Nil: its own default.
default['presence']['store'] = nil # one store, or several in an array
default['presence']['folder'] = nil
default['presence']['nodeinfo'] = nil
default['presence']['state_dir'] = nil
default['presence']['config'] = nil

# What this node is. The recipes lb, app and db have a part and a port of their own for where nothing is said.
default['presence']['instance_id'] = nil # the node's name
default['presence']['part'] = nil
default['presence']['stacktype'] = nil
default['presence']['deployment'] = nil
default['presence']['address'] = nil
default['presence']['port'] = nil
default['presence']['facts'] = {}

# Between two runs of Chef: systemd, cron or none. Nil: systemd if it runs, else cron.
default['presence']['schedule'] = nil

# recipe[presence::lb]
default['presence']['haproxy']['config'] = '/etc/haproxy/haproxy.cfg'
default['presence']['haproxy']['variables'] = {} # variables of the template
default['presence']['haproxy']['manage_service'] = nil # true or false; nil: if systemd runs

# recipe[presence::app]
default['presence']['database']['config'] = '/etc/presence/database.yml'
default['presence']['database']['template'] = 'database.yml'
default['presence']['database']['owner'] = nil # USER, or USER:GROUP in numbers or names
default['presence']['database']['variables'] = {} # variables of the template
