"""Recordings to and from the formats of others, and to see them."""
