"""W1, W2, W5: how soon after a release the next one knows."""

import sys
import time

from speed.rounds import Row
from speed.servers import Servers, Setup

from .http_calls import Http, answered_at, until

SAMPLES = 200
"""Hand-overs of a round."""
BATCH = 50
DEAD = 1000
KEEP_ALIVE_LEAST_S = 5


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def wish(requester: str, resource: str, **more: object) -> dict:
    return {"requester": requester, "resource": resource, "waitSeconds": 3600, "keepAliveSeconds": 600, **more}


def stand_in_line(http: Http, resource: str, count: int, **more: object) -> None:
    """So many tickets, for which nobody holds a call."""
    for first in range(0, count, BATCH):
        items = [wish(f"line-{number}", resource, **more) for number in range(first, min(first + BATCH, count))]
        for got in http.call("POST", "Reservation/reserve", items):
            if got["status"] != "WAITING":
                raise RuntimeError(f"a ticket was expected: {got}")


def waiting(http: Http, resource: str) -> int:
    return http.call("GET", f"Reservation/check/{resource}")["waiting"]


def handed_over_ms(setup: Setup, resource: str, behind: int, samples: int = SAMPLES) -> list[float]:
    """From the answer to a release on one replica to the answer of a call that is held on the other, in turns; `behind`: so many more wait."""
    sides = [Http(replica.port, setup.key) for replica in setup.replicas]
    watcher, took = Http(setup.replicas[0].port, setup.key), []
    try:
        holder = sides[0].call("POST", "Reservation/reserve", [{"requester": "first", "resource": resource}])[0]
        stand_in_line(watcher, resource, behind, priority=-1, keepAliveSeconds=3600)
        for number in range(samples):
            free, waits = sides[number % 2], sides[(number + 1) % 2]
            waits.send("POST", "Reservation/reserve?hold=60", [wish(f"w{number}", resource)])
            until("one more waits", lambda: waiting(watcher, resource) == behind + 1 or waits.has_answer())
            time.sleep(0.002)  # it stands in line a moment before its call is held
            free.send("POST", "Reservation/unreserve", free.release(holder))
            released, granted = answered_at([free, waits])
            took.append((granted - released) * 1e3)
            if free.answer()[0] != 200:
                raise RuntimeError("a release failed")
            holder = waits.answer()[1][0]
            if holder["status"] != "ACQUIRED":
                raise RuntimeError(f"a grant was expected: {holder}")
        watcher.call("POST", "Reservation/reset", {})
    finally:
        for http in (*sides, watcher):
            http.close()
    return took


def measure(servers: Servers, rounds: int) -> list[Row]:
    setup = servers.setup(replicas=2)
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)
        print(f"  {name:<22} {value:8.2f} ms", file=sys.stderr)

    for number in range(rounds):
        for behind in (0, 1_000, 10_000):
            took = handed_over_ms(setup, f"r{number}-{behind}", behind)
            note(f"p50 {behind}", quantile(took, 0.5))
            note(f"p99 {behind}", quantile(took, 0.99))
        note("dead", after_dead_ms(setup, f"dead{number}"))
    count = f"{SAMPLES} hand-overs a round"
    return [
        Row("W1", "release answered to grant received, held call on the other replica, 1 waiter, p50", figures["p50 0"], "W1 p50", " ms", count),
        Row("W1", "the same, p99", figures["p99 0"], "W1 p99", " ms", count),
        Row("W2", "the same with 1,000 more waiting for the name, p99", figures["p99 1000"], "W2 1000", " ms", count),
        Row("W2", "the same with 10,000, p99", figures["p99 10000"], "W2 10000", " ms", count),
        Row("W5", f"next live waiter served after {DEAD:,} dead ones", figures["dead"], "W5", " ms", "one a round"),
    ]


def after_dead_ms(setup: Setup, resource: str) -> float:
    """From the answer to a release to the grant of one behind tickets that have all died just now."""
    free, live = (Http(replica.port, setup.key) for replica in setup.replicas)
    with free, live:
        holder = free.call("POST", "Reservation/reserve", [{"requester": "holder", "resource": resource}])[0]
        stand_in_line(free, resource, DEAD, keepAliveSeconds=KEEP_ALIVE_LEAST_S)
        dead_at = time.monotonic() + KEEP_ALIVE_LEAST_S
        live.send("POST", "Reservation/reserve?hold=60", [wish("live", resource)])
        time.sleep(max(0, dead_at - time.monotonic()))
        free.send("POST", "Reservation/unreserve", free.release(holder))
        released, granted = answered_at([free, live])
        free.answer()
        got = live.answer()[1][0]
        if got["status"] != "ACQUIRED":
            raise RuntimeError(f"a grant was expected: {got}")
        live.call("POST", "Reservation/unreserve", live.release(got))
    return (granted - released) * 1e3
