"""How much of a dataset is more than can be meant. Whatever a file unpacks to, memory and disk hold no more of it."""

MAX_ROW_BYTES = 10_000_000
"""Of a row, as its file has it; three texts of the greatest length take less, however they are escaped."""

MAX_ROWS = 10_000_000
MAX_COLUMNS = 1000
MAX_NAME = 500
"""Characters of a column's name."""


class Unreadable(Exception):
    """A file that holds no rows; the message says why, and repeats nothing of it."""
