"""Inference jobs: generations and evaluations."""
