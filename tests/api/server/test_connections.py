"""uvicorn's internals are as `api.server.connections` uses them. tests/attacks/test_connections.py tests the limits."""

import asyncio
import inspect

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from api.app import create_app
from api.server.connections import OPTIONS, BoundedConnection

OVERRIDDEN = sorted(name for name, value in vars(BoundedConnection).items() if inspect.isfunction(value))


def overridden_methods() -> list[str]:
    return [name for name in OVERRIDDEN if not name.startswith("_")]


@pytest.mark.parametrize("name", overridden_methods())
def test_an_overridden_method_has_the_signature_of_uvicorns(name: str) -> None:
    base = getattr(httptools_impl.HttpToolsProtocol, name)
    assert list(inspect.signature(base).parameters) == list(
        inspect.signature(getattr(BoundedConnection, name)).parameters
    )


def test_no_private_method_replaces_one_of_uvicorns() -> None:
    private = [name for name in OVERRIDDEN if name.startswith("_")]
    assert private
    assert [name for name in private if hasattr(httptools_impl.HttpToolsProtocol, name)] == []


def test_a_connection_has_the_attributes_that_are_used() -> None:
    async def attributes() -> set[str]:
        config = uvicorn.Config(create_app(), **OPTIONS)
        connection = httptools_impl.HttpToolsProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        return set(vars(connection))

    used = {"app", "connections", "cycle", "loop", "timeout_keep_alive", "transport"}
    assert used <= asyncio.run(attributes())
    source = inspect.getsource(httptools_impl.RequestResponseCycle.__init__)
    assert "self.response_complete = False" in source
    assert "self.more_body = True" in source
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
