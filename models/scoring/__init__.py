"""HTML pages and their scores. Imports no torch."""
