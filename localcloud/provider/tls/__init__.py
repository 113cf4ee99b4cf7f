"""The tls package: keys and certificates made here, kept in the engine's state alone."""
