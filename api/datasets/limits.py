"""Limits of datasets. A small file may unpack to any size; these bound the memory and disk that it takes."""

MAX_ROW_BYTES = 10_000_000
"""The size of a row in its file, in characters of its text. Three texts of the maximum length take less."""

MAX_CHARACTERS = 200_000
"""The length of a text of a row, and of all messages of a chat together."""

MAX_ROWS = 10_000_000
MAX_COLUMNS = 1000
MAX_NAME = 500
"""The length of a column's name in characters."""


class Unreadable(Exception):
    """Raised for a file that can't be read as rows. The message says why and what to do, and names the line."""
