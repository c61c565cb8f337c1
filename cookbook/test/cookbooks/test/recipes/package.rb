# frozen_string_literal: true

# The package from a repository. Without one there is nothing to install from.
repository = ENV['PRESENCE_REPOSITORY'] || node['presence']['repository']
return if repository.nil?

if platform_family?('debian')
  apt_repository 'presence' do
    uri repository
    distribution 'stable'
    components %w(main)
    trusted true
  end
else
  yum_repository 'presence' do
    baseurl repository
    gpgcheck false
  end
end

presence_install 'presence'
