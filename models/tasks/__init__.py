"""Long tasks that run in a process of their own, and what they report."""
