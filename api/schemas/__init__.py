"""Request and response bodies and query parameters, one file per resource."""
