# frozen_string_literal: true

name 'test_haproxy'
maintainer 'The presence authors'
maintainer_email 'presence@example.net'
license 'Apache-2.0'
description 'The presence cookbook together with the public haproxy cookbook'
version '0.1.0'
chef_version '>= 17.0'

depends 'haproxy', '>= 12.0'
depends 'test'
