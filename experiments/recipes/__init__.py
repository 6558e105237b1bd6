"""Recipes: the measurements behind the committed results, as values."""
