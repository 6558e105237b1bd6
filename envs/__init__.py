"""What a world says."""
