"""Long tasks that run in a process of their own: what they are given, what they report, and how they fail."""
