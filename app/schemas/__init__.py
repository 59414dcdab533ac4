"""The words on the wire: camelCase, nothing unknown, nothing coerced."""
