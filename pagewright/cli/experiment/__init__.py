"""The original experiment from end to end, as a user of a running server would do it: through HTTP alone."""
