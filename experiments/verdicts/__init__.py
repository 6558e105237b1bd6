"""Verdicts: estimates from a few runs, and the rule by which they decide."""
