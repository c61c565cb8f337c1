# frozen_string_literal: true

#
# Cookbook:: presence
# Recipe:: default
#
# Installs presence and puts this node on the list.

program = presence_setting('package') || presence_setting('binary')

if program
  presence_install 'presence' do
    source program
    checksum presence_setting('checksum')
  end
end

presence_node node.name do
  %w(instance_id part stacktype deployment address port facts).each do |property|
    public_send(property, presence_setting(property)) if presence_setting(property)
  end
end
