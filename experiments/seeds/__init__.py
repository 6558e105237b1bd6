"""Training of several seeds in one process."""
