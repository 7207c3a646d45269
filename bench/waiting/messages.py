"""What functions publish, read from Redis itself: each message is of one call, in the order in which Redis ran them, whatever becomes of replicas.

The layout is that of events in `lua/README.md`."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from core.msgpack import unpack
from speed.servers import PATIENCE_S, Redis

TICKET = 2
"""Where an event's extra has its ticket."""


@dataclass(frozen=True, slots=True)
class Event:
    """A kept event of one thing that stands alone; what it says nothing of is None."""

    previous: int
    """The position before it."""
    position: int
    kind: str
    explanation: str
    requester: str
    resource: str | None
    ticket: str | None


def events_of(message: bytes) -> list[Event]:
    """The kept events of one message; refusals and what else is published are left out."""
    values, events, at = unpack(message), [], 0
    while at < len(values):
        mark = values[at]
        if mark == b"R":
            _, _, previous, fence, _, _, position, kind, explanation, _, _, _, requester, _, _, _, _, place, extra, resource = values[at : at + 20]
            if place != 0:
                raise ValueError("an event of a pool, a tree or a blocker: nothing here reserves such a thing")
            at += 20
            if position is False:
                continue
            ticket = extra[TICKET] if extra else False
            known = Event(previous, fence if position is True else position, kind.decode(), explanation.decode(), _text(requester) or "", _text(resource), _text(ticket))
            events.append(known)
        elif mark in (b"S", b"T"):
            before, differs = events[-1], mark == b"T"
            requester = _text(values[at + 2]) or "" if differs else before.requester
            resource = values[at + (8 if differs else 2)]
            at += 9 if differs else 3
            events.append(Event(before.position, before.position + 1, before.kind, before.explanation, requester, _text(resource), before.ticket))
        else:
            break  # of no reservation
    return events


def _text(value: object) -> str | None:
    return value.decode() if isinstance(value, bytes) else None


class Subscription:
    """Everything that is published in a Redis from now on."""

    def __init__(self, redis: Redis) -> None:
        # A reader that falls behind is not cut off: what it misses it could not judge.
        redis.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
        self._socket = socket.create_connection(("127.0.0.1", redis.port), PATIENCE_S)
        self._read = b""
        self._socket.sendall(b"*2\r\n$10\r\nPSUBSCRIBE\r\n$10\r\n*:events:0\r\n")
        self._reply()

    def messages(self, idle_s: float) -> Iterator[bytes | None]:
        """Each message as it comes; None where none came for so long."""
        self._socket.settimeout(idle_s)
        while True:
            try:
                kind, _, _, message = self._reply()
            except TimeoutError:
                yield None
                continue
            if kind == b"pmessage":
                yield message

    def close(self) -> None:
        self._socket.close()

    def _reply(self) -> list[bytes]:
        """The next whole reply, an array of texts and numbers; nothing of it is taken where it is not whole in time."""
        while True:
            parsed = _array(self._read)
            if parsed:
                reply, at = parsed
                self._read = self._read[at:]
                return reply
            more = self._socket.recv(1 << 20)
            if not more:
                raise ConnectionError("Redis ended the subscription")
            self._read += more


def _array(read: bytes) -> tuple[list[bytes], int] | None:
    """An array at the beginning, and where it ends; None where it is not whole."""
    end = read.find(b"\r\n")
    if end < 0:
        return None
    values, at = [], end + 2
    for _ in range(int(read[1:end])):
        end = read.find(b"\r\n", at)
        if end < 0:
            return None
        if read[at : at + 1] == b":":
            values.append(read[at + 1 : end])
            at = end + 2
            continue
        length = int(read[at + 1 : end])
        if len(read) < end + 2 + length + 2:
            return None
        values.append(read[end + 2 : end + 2 + length])
        at = end + 2 + length + 2
    return values, at
