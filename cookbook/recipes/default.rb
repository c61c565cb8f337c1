# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: default
#
# Installs presence and puts this node on the list.

settings = node['presence']
from = settings['package'] || settings['binary']

if from || settings['version']
  presence_install 'presence' do
    source from if from
    kind settings['kind'] if settings['kind']
    checksum settings['checksum'] if settings['checksum']
    version settings['version'] unless [nil, 'any'].include?(settings['version'])
  end
end

presence_node node.name do
  %w(instance_id part stacktype deployment address port facts).each do |property|
    public_send(property, settings[property]) unless settings[property].nil?
  end
end
