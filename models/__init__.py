"""Everything about language models. Imports nothing else of Pagewright, so it can be used as a library."""
