"""Engines that generate completions, and the pool that holds them."""
