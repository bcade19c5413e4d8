"""Celery workers: they turn a job's row into its result."""
