"""Several seeds of one agent that act and learn together, each bit for bit as it would alone."""
