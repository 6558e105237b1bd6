"""Text for people: numbers, paragraphs and tables, in the width of a terminal."""
