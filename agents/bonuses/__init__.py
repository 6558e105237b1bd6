"""Exploration bonuses: intrinsic rewards for novel observations."""
