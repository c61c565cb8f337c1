# frozen_string_literal: true

name 'test'
maintainer 'The presence authors'
maintainer_email 'presence@example.net'
license 'Apache-2.0'
description 'Scenarios for the presence cookbook'
version '0.1.0'
chef_version '>= 17.0'

depends 'presence'
