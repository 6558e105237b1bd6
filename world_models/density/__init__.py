"""Density: say how likely a frame is."""
