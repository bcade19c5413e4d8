"""One file per resource: what goes over the wire."""
