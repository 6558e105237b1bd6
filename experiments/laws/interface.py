"""What a check of a role yields."""

from collections.abc import Iterator

Laws = Iterator[tuple[str, bool]]
"""Each law as a sentence, and whether the part keeps it."""
