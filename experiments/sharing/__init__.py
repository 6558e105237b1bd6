"""Runs as files to share: export, import, model cards and the pretrained runs of the package."""
