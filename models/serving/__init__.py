"""Engines that generate completions, and the pool of loaded models that workers borrow them from."""
