"""A server that speaks as much of the hub's protocol as fetching takes, with one model or dataset on it."""

import hashlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serve_hub(
    name: str,
    folder: Path,
    commit: str,
    kind: str = "model",
    lies: Sequence[str] = (),
    refused: str | None = None,
    refusal: tuple[int, str] = (401, ""),
    port: int = 0,
) -> Iterator[str]:
    """Serves the files of `folder` as `name` at `commit`, and says that it has those that `lies` names. Requests
    whose path has `refused` in it get the status and the error code of `refusal`. The value is the hub's address."""
    api = f"/api/{kind}s/{name}"
    resolve = f"/{name}/resolve/" if kind == "model" else f"/{kind}s/{name}/resolve/"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.split("?")[0]
            files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
            if refused is not None and refused in path:
                return self.send(refusal[0], b"{}", with_body, {"X-Error-Code": refusal[1]})
            if path in (api, f"{api}/revision/main", f"{api}/revision/{commit}"):
                siblings = [{"rfilename": file, "size": at.stat().st_size} for file, at in files.items()]
                siblings += [{"rfilename": lie, "size": 1} for lie in lies]
                return self.send_json({"id": name, "sha": commit, "siblings": siblings, "tags": []})
            if path == f"{api}/tree/{commit}":
                return self.send_json(
                    [
                        {"type": "file", "path": file, "size": at.stat().st_size, "oid": "0"}
                        for file, at in files.items()
                    ]
                )
            if path.startswith(f"{resolve}{commit}/"):
                body = files[path.removeprefix(f"{resolve}{commit}/")].read_bytes()
                return self.send(200, body, with_body)
            known = path.startswith((f"{api}/", resolve))
            return self.send(404, b"{}", with_body, {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"})

        def send_json(self, content: object) -> None:
            self.send(200, json.dumps(content).encode(), with_body=True)

        def send(self, status: int, body: bytes, with_body: bool, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            for header, value in (headers or {}).items():
                self.send_header(header, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
