"""W6: what a hand-over costs Redis, and what those who wait cost in memory."""

import re
import sys
import time

from speed import machine
from speed.rounds import Row
from speed.servers import Redis, Servers, Setup

from .http_calls import Http, until
from .latency import BATCH, stand_in_line, waiting, wish

CHAIN = 200
"""Hand-overs of a round, each to a held call, whose client gives back at once."""
IDLE_S = 3
TICKETS = 10_000
HELD_CALLS = 10_000


def used_bytes(redis: Redis) -> int:
    return int(re.search(r"used_memory:(\d+)", redis.ask("INFO", "memory"))[1])


def chain(setup: Setup, resource: str, beside: int = 0) -> tuple[float, float]:
    """Calls of Redis and their microseconds per hand-over, while `beside` others wait, too."""
    clients = [Http(setup.replicas[number % 2].port, setup.key) for number in range(CHAIN)]
    watcher = Http(setup.replicas[0].port, setup.key)
    holder = watcher.call("POST", "Reservation/reserve", [{"requester": "first", "resource": resource}])[0]
    stand_in_line(watcher, resource, beside, priority=-1, keepAliveSeconds=3600)
    for number, client in enumerate(clients):
        client.send("POST", "Reservation/reserve?hold=60", [wish(f"w{number}", resource)])
        until("it waits", lambda: waiting(watcher, resource) == beside + number + 1)
    # Beside the hand-overs the tickets of held calls are touched, and deadlines looked for, by the clock: how often is counted first.
    setup.redis.ask("CONFIG", "RESETSTAT")
    time.sleep(IDLE_S)
    by_clock_us, by_clock = (count / IDLE_S for count in setup.redis.scripts())
    setup.redis.ask("CONFIG", "RESETSTAT")
    began = time.monotonic()
    watcher.call("POST", "Reservation/unreserve", watcher.release(holder))
    for number, client in enumerate(clients):
        got = client.answer()[1][0]
        if number < CHAIN - 1:
            client.call("POST", "Reservation/unreserve", client.release(got))
    script_us, calls = setup.redis.scripts()
    seconds = time.monotonic() - began
    watcher.call("POST", "Reservation/reset", {})
    for client in (*clients, watcher):
        client.close()
    print(f"  {calls} calls in {seconds:.1f} s for {CHAIN} hand-overs, {by_clock:.1f}/s by the clock", file=sys.stderr)
    return (calls - by_clock * seconds) / CHAIN, (script_us - by_clock_us * seconds) / CHAIN


def ticket_bytes(setup: Setup, resource: str) -> float:
    """Memory of Redis for a ticket, by 10,000 of them."""
    with Http(setup.replicas[0].port, setup.key) as http:
        http.call("POST", "Reservation/reserve", [{"requester": "holder", "resource": resource}])
        before = used_bytes(setup.redis)
        stand_in_line(http, resource, TICKETS, keepAliveSeconds=3600)
        after = used_bytes(setup.redis)
        http.call("POST", "Reservation/reset", {})
    return (after - before) / TICKETS


def held_call_bytes(servers: Servers) -> tuple[float, float]:
    """Memory of a replica for a held call, by 10,000 at once: more than the same connections took before, idle; and the latency of hand-overs
    meanwhile, ms."""
    setup = servers.setup()
    replica = setup.replica
    watcher = Http(replica.port, setup.key)
    clients = []
    for _ in range(HELD_CALLS):
        client = Http(replica.port, setup.key)
        client.call("GET", "Reservation/check/r")  # at once: an address has few places for connections that have shown no credential
        clients.append(client)
    watcher.call("POST", "Reservation/reserve", [{"requester": "holder", "resource": "r"}])
    idle = machine.resident_mib(replica.pid)
    for first in range(0, HELD_CALLS, BATCH):
        for number in range(first, first + BATCH):
            clients[number].send("POST", "Reservation/reserve?hold=60", [wish(f"w{number}", "r", keepAliveSeconds=600)])
        until("they wait", lambda first=first: waiting(watcher, "r") >= first + BATCH // 2)
    until("all wait", lambda: waiting(watcher, "r") == HELD_CALLS, 0.01)
    time.sleep(2)  # all are touched once
    held = machine.resident_mib(replica.pid)
    watcher.call("POST", "Reservation/reset", {})
    statuses = {client.answer()[1][0]["status"] for client in clients}
    if statuses - {"ALREADY_HELD", "ACQUIRED"}:
        raise RuntimeError(f"held calls ended with {statuses}")
    for client in (*clients, watcher):
        client.close()
    return (held - idle) * 2**20 / HELD_CALLS, idle * 2**20 / HELD_CALLS


def measure(servers: Servers, rounds: int) -> list[Row]:
    setup = servers.setup(replicas=2)
    calls, script_us, among, ticket, held, idle = [], [], [], [], [], []
    for number in range(rounds):
        figures = chain(setup, f"c{number}")
        calls.append(figures[0])
        script_us.append(figures[1])
        among.append(chain(setup, f"m{number}", 1_000)[0])
        ticket.append(ticket_bytes(setup, f"t{number}") / 1024)
        with Servers(servers.holdfast) as others:
            here = held_call_bytes(others)
        held.append(here[0] / 1024)
        idle.append(here[1] / 1024)
        print(f"  calls {calls[-1]:.2f}, {script_us[-1]:.0f} us, ticket {ticket[-1]:.2f} KiB, held call {held[-1]:.2f} KiB", file=sys.stderr)
    chained = f"chain of {CHAIN}, without what goes by the clock"
    return [
        Row("W6", "calls of Redis per hand-over", calls, "W6 calls", "", chained),
        Row("W6", "the same while 1,000 others wait", among, "W6 calls", "", chained),
        Row("W6", "time of Redis' functions per hand-over", script_us, None, " us", "release, event, grant, the answer of the held call"),
        Row("W6", "memory of Redis per ticket", ticket, "W6 memory", " KiB", f"by {TICKETS:,}"),
        Row("W6", "memory of a replica per held call, beyond its connection", held, "W6 memory", " KiB", f"by {HELD_CALLS:,} at once"),
        Row("W6", "memory of a replica in all before, per idle connection", idle, None, " KiB", f"by {HELD_CALLS:,}, the program itself counted in"),
    ]
