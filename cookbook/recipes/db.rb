# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: db
#
# A database registers, so that applications find it.

node.default_unless['presence']['part'] = 'db1'
node.default_unless['presence']['port'] = 5432

include_recipe 'presence::default'

presence_agent presence_agent_name
