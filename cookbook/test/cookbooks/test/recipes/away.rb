# frozen_string_literal: true

# A store that is away. The node has heartbeats, so the run goes on.
include_recipe 'test::install'

node.default['presence']['store'] = 'git://127.0.0.1:9/list.git'

include_recipe 'presence::app'
