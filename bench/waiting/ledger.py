"""What the events of a tenant say of its lines: whether each grant went to who came first, and nobody was forgotten.

A grant, and whatever frees something, are events at positions that grow; those of one call of Redis follow each other without a gap. So the order
of the events is the order in which things were decided, and between two calls nothing may be free that a live ticket waits for."""

from dataclasses import dataclass, field

FREED = {"UNRESERVED"}


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
    last: int = 0
    touched: set[str] = field(default_factory=set)

    def note(self, event: dict) -> None:
        if event["id"] is None:
            return  # a refusal, which changes nothing
        position, kind, resource = int(event["id"]), event["type"], event["resource"]
        if position > self.last + 1:
            self.between_calls()
        self.last = position
        if resource is None:
            return
        self.touched.add(resource)
        line = self.lines.setdefault(resource, {})
        if kind == "WAITING":
            line[event["ticket"]] = (-priority_of(event["requester"]), position)
        elif kind == "WAIT_ENDED":
            line.pop(event["ticket"], None)
            self.lapsed += event["explanation"] == "LAPSED"
        elif kind == "RESERVED":
            self._grant(event, resource, line, position)
        elif kind in FREED and self.holders.get(resource) == event["requester"]:
            del self.holders[resource]

    def _grant(self, event: dict, resource: str, line: dict[str, tuple[int, int]], position: int) -> None:
        self.two_holders += resource in self.holders
        self.holders[resource] = event["requester"]
        if event["ticket"]:
            self.handed_over += 1
            mine = line.pop(event["ticket"], None)
        else:
            mine = (-priority_of(event["requester"]), position)
        if mine is None or any(order < mine for order in line.values()):
            self.order_errors += 1

    def between_calls(self) -> None:
        for resource in self.touched:
            self.lost_wake_ups += resource not in self.holders and bool(self.lines.get(resource))
        self.touched.clear()

    def starved(self) -> int:
        """Who waits at the end, when nobody asks any more and every wait is over."""
        return sum(len(line) for line in self.lines.values())
