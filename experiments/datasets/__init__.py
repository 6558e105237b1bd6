"""Recorded experience on disk: reading, writing, batching and collecting."""
