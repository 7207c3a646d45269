"""HTTP calls over plain sockets: as quick as Python can be, and a caller may wait for several answers at once."""

import json
import select
import socket
import time
from typing import Self

PATIENCE_S = 90


class Http:
    """One connection that is kept, to one replica, as one tenant."""

    def __init__(self, port: int, key: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: 127.0.0.1\r\nX-Api-Key: {key}\r\nContent-Type: application/json\r\n"
        self._left = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, method: str, path: str, body: object = None) -> None:
        text = "" if body is None else json.dumps(body)
        self._socket.sendall(f"{method} /api/v1/{path} HTTP/1.1\r\n{self._head}Content-Length: {len(text)}\r\n\r\n{text}".encode())

    def answer(self) -> tuple[int, object]:
        """The next answer: status and body."""
        read = self._left
        while b"\r\n\r\n" not in read:
            read += self._more()
        head, _, body = read.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
        while len(body) < length:
            body += self._more()
        self._left = body[length:]
        return int(lines[0].split(" ")[1]), json.loads(body[:length]) if length else None

    def has_answer(self) -> bool:
        return bool(self._left or select.select([self], [], [], 0)[0])

    def _more(self) -> bytes:
        more = self._socket.recv(65536)
        if not more:
            raise ConnectionError("the replica ended the connection")
        return more

    def call(self, method: str, path: str, body: object = None) -> object:
        """Sends, and answers what a success is answered."""
        self.send(method, path, body)
        status, answer = self.answer()
        if status != 200:
            raise RuntimeError(f"{method} {path} was answered {status}: {str(answer)[:300]}")
        return answer

    def release(self, got: dict) -> list:
        return [{name: got[name] for name in ("requester", "resource", "releaseToken")}]


def answered_at(connections: list[Http]) -> list[float]:
    """When each of them had the beginning of an answer, in seconds; none of it is read."""
    at: dict[int, float] = {}
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    end = time.perf_counter() + PATIENCE_S
    while len(at) < len(connections):
        for number, _ in poll.poll(1000):
            at[number] = time.perf_counter()
            poll.unregister(number)
        if time.perf_counter() > end:
            raise TimeoutError("an answer did not come")
    return [at[connection.fileno()] for connection in connections]


def until(what: str, holds, every_s: float = 0.0005) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {PATIENCE_S} s")
        time.sleep(every_s)
