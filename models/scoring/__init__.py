"""Scores of HTML pages: the parser, metrics and baselines. Loads no torch."""
