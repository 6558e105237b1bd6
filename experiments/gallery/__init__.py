"""The gallery: every density on the same frames for the same time, measured by what it can do."""
