"""Recipes behind the committed results, and the tables generated from the results."""
