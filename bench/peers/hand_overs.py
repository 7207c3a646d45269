"""What is counted of clients that take turns at one name, in whatever way they lock it.

A hand-over is a turn whose holder is another client than the one before. Who had it last stands in memory that the processes share, and is read and
written only by who has the name: the lock itself protects it. So it shows, too, whether two had it at once."""

import json
import mmap
import struct
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

WORDS = struct.Struct("<II")
"""Who has the name now, and who had it last: the number of a client, or 0 for nobody."""


class Shared:
    """The memory of a run: a file of its own, which the first that opens it fills with zeros."""

    def __init__(self, file: Path) -> None:
        with file.open("a+b") as opened:
            if file.stat().st_size < WORDS.size:
                opened.truncate(WORDS.size)
            self._memory = mmap.mmap(opened.fileno(), WORDS.size)

    def enter(self, client: int) -> bool:
        """A client has the name from now on. Whether another one had it before."""
        inside, last = WORDS.unpack_from(self._memory)
        if inside:
            raise RuntimeError(f"client {client} was given what client {inside} has")
        WORDS.pack_into(self._memory, 0, client, client)
        return last != client

    def leave(self, client: int) -> None:
        """It is about to give it back."""
        inside, _ = WORDS.unpack_from(self._memory)
        if inside != client:
            raise RuntimeError(f"client {inside} has what client {client} holds")
        WORDS.pack_into(self._memory, 0, 0, client)


class Turns:
    """The turns of one process' clients that were taken within the window, which begins `warm_s` from now and lasts `window_s`."""

    def __init__(self, shared: Shared, clients: list[int], warm_s: float, window_s: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._shared, self._clock, self._window_s = shared, clock, window_s
        self._from = clock() + warm_s
        self._until = self._from + window_s
        self._turns = dict.fromkeys(clients, 0)
        self._hand_overs, self._longest_s, self._took_us = 0, 0.0, []
        self._lock = threading.Lock()

    def over(self) -> bool:
        return self._clock() >= self._until

    @contextmanager
    def held(self, client: int, asked: float) -> Iterator[None]:
        """Around what a client does while it has the name, for which it began to ask at `asked`."""
        is_other = self._shared.enter(client)
        taken = self._clock()
        yield
        self._shared.leave(client)
        # After the window nobody asks anew, so who still waits then is served sooner than it would have been.
        waited_s = min(taken, self._until) - asked
        with self._lock:
            if taken >= self._from:
                self._longest_s = max(self._longest_s, waited_s)
            if self._from <= taken < self._until:
                self._turns[client] += 1
                self._hand_overs += is_other
                self._took_us.append(waited_s * 1e6)

    def summary(self) -> dict[str, float]:
        # Where nobody was served within the window, a turn takes at least as long.
        ordered = sorted(self._took_us) or [self._window_s * 1e6]
        quantile = lambda part: round(ordered[int((len(ordered) - 1) * part)])
        counted = {"pairs": sum(self._turns.values()), "hand_overs": self._hand_overs, "unserved": list(self._turns.values()).count(0)}
        return {**counted, "seconds": self._window_s, "p50_us": quantile(0.5), "p99_us": quantile(0.99), "longest_s": self._longest_s}

    def text(self) -> str:
        return json.dumps(self.summary())
