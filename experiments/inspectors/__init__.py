"""Inspectors: what an agent and its models compute at a timestep, as numbers and pictures."""
