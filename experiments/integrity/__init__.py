"""Checks of the files of runs and recordings, and repairs of what can be repaired."""
