"""Event streams without IO: the parser of server-sent events, and where a stream goes on."""

from __future__ import annotations

import codecs
import json
from collections import deque
from collections.abc import Iterable
from urllib.parse import quote

from holdfast._backoff import Backoff, jittered
from holdfast._call import Call
from holdfast.errors import UnexpectedAnswerError
from holdfast.events import Event

# Silence after which a stream counts as dead, seconds: three of the service's signs of life, which come every 15 s.
SILENCE = 45.0
# Bounds of the pause between two attempts to connect, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
# Most characters of one line: a transaction of 1,000 items with names of 1,024 bytes fits.
LINE_LENGTH = 8 << 20
ESCAPED_COMMA = "\\,"

Frame = tuple[str | None, str | None, str | None]
"""Type, id and data. Without a type it moves the cursor alone."""


class Parser:
    """The parser of server-sent events (WHATWG HTML, "Parsing an event stream"), for a service that ends lines with LF alone."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pieces: list[str] = []
        self._length = 0
        self._kind: str | None = None
        self._id: str | None = None
        self._data: list[str] = []
        self.retry: float | None = None
        """The pause before the next connection that the service asked for, seconds."""

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that a piece of the body completes.

        Raises:
            ValueError: a line passes its bound.
        """
        frames: list[Frame] = []
        *lines, rest = self._decoder.decode(piece).split("\n")
        for line in lines:
            whole = "".join((*self._pieces, line))
            self._pieces, self._length = [], 0
            self._take(whole.removesuffix("\r"), frames)
        self._pieces.append(rest)
        self._length += len(rest)
        if self._length > LINE_LENGTH:
            raise ValueError("a line of the stream is too long")
        return frames

    def _take(self, line: str, frames: list[Frame]) -> None:
        if not line:
            if self._data or self._id is not None:
                frames.append((self._kind, self._id, "\n".join(self._data) if self._data else None))
            self._kind, self._id, self._data = None, None, []
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "id":
            self._id = value
        elif name == "data":
            self._data.append(value)
        elif name == "retry" and value.isascii() and value.isdecimal():
            self.retry = int(value) / 1000


class Cursor:
    """Where a stream is, and how it goes on."""

    def __init__(
        self,
        since: int | str | None,
        types: Iterable[str] | None,
        resources: Iterable[str] | None,
        companies: Iterable[str] | None,
    ) -> None:
        filters = {"types": types, "resources": resources, "companies": companies}
        for name, values in filters.items():
            if isinstance(values, str):
                raise TypeError(f"{name} is one text; give a list of texts")
        parts = [
            f"{name}={quote(value.replace(',', ESCAPED_COMMA), safe='')}"
            for name, values in filters.items()
            for value in values or ()
        ]
        self._path = "/api/v1/events" + ("?" + "&".join(parts) if parts else "")
        self.position = None if since is None else str(since)
        self._parser = Parser()
        self._retry = FIRST_PAUSE
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._ready: deque[Frame] = deque()
        self.begun = False
        """Whether this connection has said where it stands: from there on nothing is missed."""

    @property
    def seen(self) -> int | None:
        """The position as a number; None before there is one."""
        return int(self.position) if self.position is not None and self.position.isdecimal() else None

    def call(self) -> Call:
        """The call that goes on where the stream is; what was half received is forgotten."""
        self._parser, self.begun = Parser(), False
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if self.position is not None:
            headers["Last-Event-ID"] = self.position
        return Call("GET", self._path, headers=headers)

    def pause(self, asked: float = 0.0) -> float:
        """Seconds before the next connection. What the service asked for spreads the streams of a replica that leaves; the backoff spares
        one that is away."""
        return max(min(jittered(min(self._retry, LONGEST_PAUSE)), self._backoff.pause()), asked)

    def feed(self, piece: bytes) -> None:
        """Takes a piece of the body."""
        frames = self._parser.feed(piece)
        self.begun = self.begun or any(position is not None for _, position, _ in frames)
        self._ready.extend(frames)
        if self._parser.retry is not None:
            self._retry = self._parser.retry
        # Known before its events are read, so that `position` is right as soon as the stream is open.
        while self._ready and self._ready[0][0] is None:
            _, position, _ = self._ready.popleft()
            if position is not None:
                self.position = position

    def next(self) -> Event | None:
        """The next event that has come; None where more is to be read."""
        while self._ready:
            kind, position, data = self._ready.popleft()
            if position is not None:
                self.position = position
            if kind is not None and data is not None:
                self._backoff.reset()
                try:
                    return Event.parse(kind, position, json.loads(data))
                except (ValueError, TypeError) as error:
                    raise UnexpectedAnswerError(f"an event that is none of Holdfast's: {error}") from error
        return None
