"""One session of a run: its driver, callbacks, events and display."""
