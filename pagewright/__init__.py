"""What every part shares, and the `pagewright` command."""
