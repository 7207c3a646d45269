"""What the events of a tenant say of its lines: whether each grant went to who came first, and nobody was forgotten.

It is fed what Redis published, so it judges what the functions decided, by their positions, and not when somebody heard of it. Each event names the
position before it, so an event that is missing is noticed. Events of one call of Redis follow each other without a gap, and between two calls nothing
may be free that a live ticket waits for. The exception is a call that had much to do: it may leave the rest of its hand-overs to the next calls, which
finish them before they decide anything else."""

from collections import deque
from dataclasses import dataclass, field

from .messages import Event

SHOWN = 12
"""Events of a thing that are shown where one of them is an error."""
PIECE_EVENTS = 16
"""A call with fewer events had not too much to do for its hand-overs."""
BY_CLOCK = {"EXPIRED", "UNCLAIMED"}
"""Why a thing is given back that nobody gives back."""


def priority_of(requester: str) -> int:
    """A requester of the soak says its priority: `p-1 17`."""
    return int(requester[1:].split(" ", 1)[0])


@dataclass
class Ledger:
    lines: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """Resource -> ticket that waits -> order."""
    holders: dict[str, str] = field(default_factory=dict)
    handed_over: int = 0
    order_errors: int = 0
    two_holders: int = 0
    lost_wake_ups: int = 0
    lapsed: int = 0
    in_pieces: int = 0
    """Things that were handed over by a later call than the one that freed them, for that had much to do."""
    last: int | None = None
    touched: set[str] = field(default_factory=set)
    left_over: set[str] = field(default_factory=set)
    """Things that large calls left free although somebody waits."""
    call_events: int = 0
    has_decided: bool = False
    """Whether the present call did more than what time and earlier calls had left to do."""
    errors: list[str] = field(default_factory=list)
    latest: dict[str, deque[Event]] = field(default_factory=dict)

    def note(self, event: Event) -> None:
        if self.last is not None and event.previous != self.last:
            raise RuntimeError(f"events are missing between {self.last} and {event.position}, so the ledger cannot be kept")
        if self.last is not None and event.position > self.last + 1:
            self.between_calls()
        self.last = event.position
        self.call_events += 1
        self.has_decided |= event.kind == "WAITING" or event.kind == "RESERVED" and not event.ticket or event.kind == "UNRESERVED" and event.explanation not in BY_CLOCK
        if event.resource is None:
            return
        self.touched.add(event.resource)
        self.latest.setdefault(event.resource, deque(maxlen=SHOWN)).append(event)
        line = self.lines.setdefault(event.resource, {})
        if event.kind == "WAITING":
            line[event.ticket] = (-priority_of(event.requester), event.position)
        elif event.kind == "WAIT_ENDED":
            line.pop(event.ticket, None)
            self.lapsed += event.explanation == "LAPSED"
        elif event.kind == "RESERVED":
            self._grant(event, line)
        elif event.kind == "UNRESERVED" and self.holders.get(event.resource) == event.requester:
            del self.holders[event.resource]

    def _grant(self, event: Event, line: dict[str, tuple[int, int]]) -> None:
        if event.resource in self.holders:
            self.two_holders += 1
            self._show("two holders", event.resource)
        self.holders[event.resource] = event.requester
        if event.ticket:
            self.handed_over += 1
            mine = line.pop(event.ticket, None)
        else:
            mine = (-priority_of(event.requester), event.position)
        if mine is None or any(order < mine for order in line.values()):
            self.order_errors += 1
            self._show("out of order" if mine else "a grant to a ticket that was not in line", event.resource)

    def between_calls(self) -> None:
        """A call has ended."""
        forgotten = {resource for resource in self.touched if self._is_forgotten(resource)} - self.left_over
        still = {resource for resource in self.left_over if self._is_forgotten(resource)}
        self.in_pieces += len(self.left_over) - len(still)
        lost = (forgotten if self.call_events < PIECE_EVENTS else set()) | (still if self.has_decided else set())
        for resource in lost:
            self.lost_wake_ups += 1
            self._show("a lost wake-up", resource)
        self.left_over = (forgotten | still) - lost
        self.touched.clear()
        self.call_events, self.has_decided = 0, False

    def close(self) -> None:
        """Nothing comes any more."""
        self.between_calls()
        self.lost_wake_ups += len(self.left_over)

    def _is_forgotten(self, resource: str) -> bool:
        return resource not in self.holders and bool(self.lines.get(resource))

    def _show(self, what: str, resource: str) -> None:
        waiting = sorted(self.lines[resource].values())
        told = "\n".join(f"    {event}" for event in self.latest[resource])
        self.errors.append(f"{what} of {resource}; still in line: {waiting}\n{told}")

    def starved(self) -> int:
        """Who waits at the end, when nobody asks any more and every wait is over."""
        return sum(len(line) for line in self.lines.values())
