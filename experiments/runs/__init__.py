"""Run folders: checkpoints, provenance and the runtime of a process."""
