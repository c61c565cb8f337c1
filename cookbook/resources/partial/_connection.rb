# frozen_string_literal: true

property :program, String,
         default: 'presence',
         desired_state: false,
         description: 'The presence program, by path or by name.'

property :user, [String, nil],
         default: lazy { node.read('presence', 'user') },
         desired_state: false,
         description: 'The user that runs presence, by hand, by the timer and in Chef.'

property :config, String,
         default: lazy { presence_config_file },
         desired_state: false,
         description: 'The configuration file. It may be missing.'

property :nodeinfo, String,
         default: lazy { node.read('presence', 'nodeinfo') || Presence::Nodeinfo.default_folder },
         desired_state: false,
         description: "The folder of this node's facts."

property :store, [String, Array],
         default: lazy { node.read('presence', 'store') || [] },
         coerce: proc { |stores| Array(stores).map(&:to_s) },
         # A URL may have a token.
         sensitive: true,
         desired_state: false,
         description: 'The stores of the list: git URLs, repositories or directories. None: those of the configuration file.'

property :folder, [String, nil],
         default: lazy { node.read('presence', 'folder') },
         desired_state: false,
         description: 'The folder of the records, inside the store.'

property :state_dir, [String, nil],
         default: lazy { node.read('presence', 'state_dir') },
         desired_state: false,
         description: 'The state directory, with copies of the list and memories.'

property :timeout, Integer,
         default: Presence::Run::TIME_LIMIT,
         desired_state: false,
         description: 'The time limit of one call of presence, in seconds.'
