class UpError(Exception):
    """`pagewright up` can't start or can't go on. The message is for the user of the command."""
