# frozen_string_literal: true

require 'json'

module Support
  # TOML as Chef's `render_toml` writes it, for specs without Chef: values, then tables, then arrays of tables.
  module Toml
    module_function

    def dump(table, path = [])
      values, rest = table.partition { |_, value| !nested?(value) }
      lines = values.map { |key, value| "#{key} = #{JSON.generate(value)}" }
      rest.sort_by { |_, value| value.is_a?(Hash) ? 0 : 1 }.each do |key, value|
        name = [*path, key]
        tables = value.is_a?(Hash) ? ["[#{name.join('.')}]", [value]] : ["[[#{name.join('.')}]]", value]
        tables.last.each { |entry| lines << tables.first << dump(entry, name) }
      end
      lines.join("\n")
    end

    def nested?(value)
      value.is_a?(Hash) || (value.is_a?(Array) && value.first.is_a?(Hash))
    end

    private_class_method :nested?
  end
end
