# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: db
#
# A database: it says where it is, and the applications find it.

presence_suggest part: 'db1', port: 5432

include_recipe 'presence::default'
