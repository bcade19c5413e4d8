"""Headless Chromium, controlled over its DevTools protocol."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.processes import eventually

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-port=0",
]


def chromium() -> str:
    """Return the browser's command. Without a browser the test is skipped, or fails in CI."""
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if command is None:
        assert "CI" not in os.environ, "no Chromium: `apt-get install chromium`"
        pytest.skip("no Chromium on this machine")
    return command


class Page:
    """A tab. All its requests have the given headers."""

    def __init__(self, connection: ClientConnection, headers: dict[str, str]) -> None:
        self._connection = connection
        self._calls = 0
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Network.setExtraHTTPHeaders", headers=headers)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=20))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        eventually(lambda: self.evaluate("document.readyState") == "complete", f"{url} in the browser")

    def evaluate(self, expression: str) -> Any:
        """Return the value of the expression in the page, or the name of the error that it throws."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            return result["exceptionDetails"]["exception"]["description"].split(":")[0]
        return result["result"].get("value")

    def click(self, x: int, y: int) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


@contextmanager
def new_page(profile: Path, headers: dict[str, str]) -> Iterator[Page]:
    """Start a browser with a new profile in the folder `profile`, and yield its tab."""
    command = [chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ready = profile / "DevToolsActivePort"
        eventually(lambda: ready.exists() and ready.read_text().count("\n") > 0, "Chromium")
        [port, *_] = ready.read_text().splitlines()
        [tab] = [tab for tab in httpx.get(f"http://127.0.0.1:{port}/json").json() if tab["type"] == "page"]
        with connect(tab["webSocketDebuggerUrl"], max_size=None, close_timeout=1) as connection:
            yield Page(connection, headers)
    finally:
        process.terminate()
        process.wait()
