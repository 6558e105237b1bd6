"""Experiments as values: the registry of roles, serialization and presets."""
