"""Exponential backoff with jitter."""

from __future__ import annotations

import random


class Backoff:
    """Pauses between attempts: each is drawn evenly from half of its bound to the whole of it ("equal jitter"), and the bound
    doubles, so that clients that failed together do not come back together."""

    def __init__(self, first: float, most: float) -> None:
        self._first = self._bound = first
        self._most = most

    def pause(self) -> float:
        """The next pause, in seconds."""
        bound = self._bound
        self._bound = min(bound * 2, self._most)
        return jittered(bound)

    def reset(self) -> None:
        """Begins again at the first pause, after a success."""
        self._bound = self._first


def jittered(bound: float) -> float:
    """A duration between half of `bound` and `bound`."""
    return bound * random.uniform(0.5, 1.0)
