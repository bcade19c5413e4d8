"""Connections and their limits, the request log, the limit on request bodies."""
