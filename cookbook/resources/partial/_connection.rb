# frozen_string_literal: true

property :program, String,
         default: 'presence',
         desired_state: false,
         description: 'The presence program, by path or by name.'

property :config, String,
         default: lazy { Presence::Settings.config(node.attributes) },
         desired_state: false,
         description: 'The configuration file. It may be missing.'

property :nodeinfo, String,
         default: lazy { presence_setting('nodeinfo') || Presence::Nodeinfo.default_folder },
         desired_state: false,
         description: "The folder of this node's facts."

property :store, [String, Array],
         default: lazy { presence_setting('store') || [] },
         coerce: proc { |stores| Array(stores).map(&:to_s) },
         desired_state: false,
         description: 'Where the list is: git URLs, repositories or directories. None: what the configuration file says.'

property :folder, [String, nil],
         default: lazy { presence_setting('folder') },
         desired_state: false,
         description: 'The folder of the records, inside the store.'

property :state_dir, [String, nil],
         default: lazy { presence_setting('state_dir') },
         desired_state: false,
         description: 'Where presence keeps its copies and memories.'

property :timeout, Integer,
         default: Presence::Run::TIME_LIMIT,
         desired_state: false,
         description: 'How long one call of presence may take, in seconds.'
