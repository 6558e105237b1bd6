"""The generative models, a folder a role."""
