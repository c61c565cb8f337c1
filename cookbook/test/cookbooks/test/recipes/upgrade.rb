# frozen_string_literal: true

# A source that is not presence does not replace the program.
include_recipe 'test::install'

file "#{Test::Fleet::ROOT}/other" do
  content "#!/bin/sh\necho other 1.0\n"
  mode '0755'
end

presence_install 'other' do
  source "#{Test::Fleet::ROOT}/other"
  ignore_failure true
end
