"""`pagewright up`: Redis, SQLite, the API and the workers on one machine, as child processes of one command."""
