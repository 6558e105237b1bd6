"""Environments: vectorized games and small test environments, and the types of their experience."""
