"""Latencies of pairs that ended within the window."""

import json
import time
from contextlib import contextmanager
from typing import Iterator


class Took:
    """The window begins `warm_s` from now and lasts `window_s`."""

    def __init__(self, warm_s: float, window_s: float) -> None:
        self._window_s = window_s
        self._from = time.perf_counter() + warm_s
        self._until = self._from + window_s
        self._took_us: list[float] = []

    def over(self) -> bool:
        return time.perf_counter() >= self._until

    @contextmanager
    def pair(self) -> Iterator[None]:
        """Counts what is done within, unless it fails."""
        asked = time.perf_counter()
        yield
        done = time.perf_counter()
        if self._from <= done < self._until:
            self._took_us.append((done - asked) * 1e6)

    def summary(self) -> str:
        # Where nothing ended within the window, a pair takes at least as long.
        ordered = sorted(self._took_us) or [self._window_s * 1e6]
        quantile = lambda q: round(ordered[int((len(ordered) - 1) * q)])
        return json.dumps({"pairs": len(self._took_us), "seconds": self._window_s, "p50_us": quantile(0.5), "p99_us": quantile(0.99)})
