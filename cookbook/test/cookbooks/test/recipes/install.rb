# frozen_string_literal: true

# What every scenario begins with: the program, and an empty list in a plain directory.
presence_install 'presence' do
  source node['presence']['binary']
end

directory Test::Fleet::LIST do
  recursive true
end

node.default['presence']['store'] = Test::Fleet::LIST
node.default['presence']['stacktype'] = 'lad1'
