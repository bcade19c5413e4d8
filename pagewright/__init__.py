"""Modules that all parts share (settings, logging, telemetry, artifacts), and the `pagewright` command."""
