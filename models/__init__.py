"""The language-model work. Imports nothing else of ours: usable from a REPL as a library."""
