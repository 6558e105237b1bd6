"""One session of a run: its driver, callbacks, logs and display."""
