# frozen_string_literal: true

# A database registers.
include_recipe 'test::install'
include_recipe 'presence::db'
