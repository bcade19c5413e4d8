"""Celery workers, which run the jobs."""
