"""The endpoints, one module per resource.

`api.app` includes the `router` of every module here. A module's docstring describes its router's tag in the OpenAPI
document.
"""
