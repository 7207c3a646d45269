"""A peer that follows a script: each exchange is what the contract lets a service answer."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import holdfast


class Peer:
    """Answers one request after the other with (status, body) or (status, body, headers); None closes without an answer."""

    def __init__(self, *script: tuple[Any, ...] | None) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.times: list[float] = []
        steps = iter(script)
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                peer.times.append(time.monotonic())
                peer.requests.append((f"{self.command} {self.path}", json.loads(body) if body else None))
                step = next(steps, None)
                if step is None:
                    self.close_connection = True
                    return
                status, content, *headers = step
                text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def client(self) -> holdfast.Client:
        return holdfast.Client(self.url, "hf_live_x")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def refusal(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": "No.", "docsUrl": "/docs#errors", "details": []}, **more}
