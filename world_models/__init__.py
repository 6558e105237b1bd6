"""Generative models, one folder per role: density, representation, prediction, planning."""
