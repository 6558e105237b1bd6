"""Ablations: grids of runs over parts, envs and seeds, and the pools that execute them."""
