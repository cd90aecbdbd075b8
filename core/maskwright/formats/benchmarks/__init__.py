"""Data sets of published tables, read as their owners publish them: nothing is converted on disk."""
