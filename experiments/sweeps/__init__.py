"""Sweeps over settings: random search and successive halving, on the pools of ablations."""
