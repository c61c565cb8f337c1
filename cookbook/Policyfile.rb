# frozen_string_literal: true

name 'presence'

default_source :supermarket

run_list 'presence::default'

cookbook 'presence', path: '.'
cookbook 'test', path: 'test/cookbooks/test'
cookbook 'test_haproxy', path: 'test/cookbooks/test_haproxy'

Dir.children(File.join(__dir__, 'test/cookbooks/test/recipes')).grep(/\.rb\z/).sort.each do |file|
  recipe = File.basename(file, '.rb')
  named_run_list recipe.to_sym, "test::#{recipe}"
end

named_run_list :haproxy_cookbook, 'test_haproxy::default'
