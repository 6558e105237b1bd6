"""Model-free episodic control and its tables."""
