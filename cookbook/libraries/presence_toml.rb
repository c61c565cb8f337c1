# frozen_string_literal: true

require 'json' unless defined?(JSON)

module Presence
  # Writes presence.toml. The file has keys, tables, and arrays of tables; more of TOML is not needed.
  module Toml
    module_function

    # Keys keep their order, so that the same settings make the same bytes.
    def dump(settings)
      "#{table(settings, []).join("\n").strip}\n"
    end

    # @return [Array<String>] the lines of a table: its values first, since a value after a header is the header's.
    def table(settings, path)
      values, rest = settings.compact.partition { |_, value| !nested?(value) }
      values.map { |key, value| "#{key(key)} = #{value(value)}" } +
        rest.flat_map do |key, value|
          name = path + [key(key)]
          case value
          when Hash then ['', "[#{name.join('.')}]"] + table(value, name)
          else value.flat_map { |entry| ['', "[[#{name.join('.')}]]"] + table(entry, name) }
          end
        end
    end

    def nested?(value)
      value.is_a?(Hash) || (value.is_a?(Array) && !value.empty? && value.all?(Hash))
    end

    def key(name)
      name = name.to_s
      name.match?(/\A[A-Za-z0-9_-]+\z/) ? name : string(name)
    end

    def value(value)
      case value
      when true, false, Integer, Float then value.to_s
      when String, Symbol then string(value.to_s)
      when Array then "[#{value.map { |entry| value(entry) }.join(', ')}]"
      else raise ArgumentError, "presence.toml cannot hold a #{value.class}: #{value.inspect}"
      end
    end

    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped (TOML 1.0.0, "String").
    def string(text)
      JSON.generate(text).gsub("\u007f", '\u007F')
    end

    private_class_method :table, :nested?, :key, :value, :string
  end
end
