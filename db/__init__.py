"""Tables, sessions, and one file of queries per aggregate. Knows the settings and nothing else of ours."""
