"""W4: many hand-overs while clients and replicas are killed, checked by the ledger of the tenant's own events."""

import http.client
import json
import multiprocessing
import random
import subprocess
import sys
import threading
import time

from speed.rounds import Row
from speed.servers import Server, Servers, Setup

from .http_calls import Http
from .ledger import Ledger

NAMES = 64
PROCESSES, CLIENTS = 2, 64
TTL_S, WAIT_S, KEEP_ALIVE_S = 1, 60, 5
DIES = 0.002
"""Of how many turns a client is killed while it waits, and of how many while it holds."""
REPLICA_LIVES_S = 5
QUIET_S = TTL_S + WAIT_S + 2 * KEEP_ALIVE_S


def clients(ports: list[int], key: str, process: int, stop) -> None:
    """A process of clients; a client that is killed drops its connection and never asks again."""
    threads = [threading.Thread(target=client, args=(ports, key, f"{process}.{number}", stop), daemon=True) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def client(ports: list[int], key: str, who: str, stop) -> None:
    chance, number, connection = random.Random(who), 0, None
    while not stop.is_set():
        number += 1
        priority = chance.choice((-1, 0, 0, 0, 1))
        requester, resource = f"p{priority} {who}.{number}", f"name-{chance.randrange(NAMES)}"
        item = {"requester": requester, "resource": resource, "ttlSeconds": TTL_S, "priority": priority, "waitSeconds": WAIT_S, "keepAliveSeconds": KEEP_ALIVE_S}
        dies = chance.random()
        while not stop.is_set():
            try:
                connection = connection or Http(chance.choice(ports), key)
                connection.send("POST", "Reservation/reserve?hold=20", [item])
                if dies < DIES:
                    time.sleep(chance.random() / 50)
                    raise ConnectionError("killed while it waits")
                status, answer = connection.answer()
                if status == 200 and answer[0]["status"] in ("ACQUIRED", "ALREADY_HAD"):
                    if dies < 2 * DIES:
                        raise ConnectionError("killed while it holds")
                    connection.call("POST", "Reservation/unreserve", connection.release(answer[0]))
                    break
                if status == 200 and answer[0]["status"] != "WAITING":
                    break  # its wait is over
            except (OSError, RuntimeError, ValueError):
                if connection:
                    connection.close()
                connection = None
                if dies < 2 * DIES:
                    break
                time.sleep(0.01)


def stream(setup: Setup) -> http.client.HTTPResponse:
    """The tenant's events from here on: an event that is missed would look like an error."""
    connection = http.client.HTTPConnection("127.0.0.1", setup.replicas[0].port, timeout=QUIET_S + 60)
    connection.request("GET", "/api/v1/events", headers={"X-Api-Key": setup.key})
    lines = connection.getresponse()
    while not lines.readline().startswith(b"id: "):
        pass  # the head, which ends with the position that the stream starts from
    return lines


def follow(lines: http.client.HTTPResponse, ledger: Ledger, on_event) -> None:
    """Reads events into the ledger until `on_event` answers true."""
    kind = ""
    for line in lines:
        if line.startswith(b"event: "):
            kind = line[7:].strip().decode()
        elif line.startswith(b"data: ") and kind:
            if kind == "RESET_CURSOR":
                raise RuntimeError("the stream has a hole, so the ledger cannot be kept")
            ledger.note(json.loads(line[6:]))
            kind = ""
        if on_event():
            break


def kill_and_restart(servers: Servers, setup: Setup, stop) -> None:
    """The second replica is killed again and again, and comes back at its port."""
    replica: Server = setup.replicas[1]
    while not stop.wait(REPLICA_LIVES_S):
        subprocess.run(["kill", "-KILL", str(replica.pid)], check=False)
        replica = servers.replica(setup.redis, port=replica.port)


def measure(servers: Servers, hand_overs: int) -> tuple[list[Row], str]:
    setup = servers.setup(replicas=2)
    ledger, stop, began = Ledger(), multiprocessing.Event(), time.monotonic()
    ports = [replica.port for replica in setup.replicas]
    running = [multiprocessing.Process(target=clients, args=(ports, setup.key, number, stop), daemon=True) for number in range(PROCESSES)]
    killing = threading.Thread(target=kill_and_restart, args=(servers, setup, stop))
    ended_at, shown, events = [None], [time.monotonic()], stream(setup)

    def on_event() -> bool:
        now = time.monotonic()
        if now > shown[0] + 10:
            shown[0] = now
            print(f"  {ledger.handed_over:,} hand-overs in {now - began:.0f} s", file=sys.stderr)
        if not stop.is_set() and ledger.handed_over >= hand_overs:
            stop.set()
            ended_at[0] = now
        return ended_at[0] is not None and (now > ended_at[0] + 2 * QUIET_S or now > ended_at[0] + 30 and not ledger.starved())

    for process in running:
        process.start()
    killing.start()
    try:
        follow(events, ledger, on_event)
    finally:
        stop.set()
        killing.join()
        for process in running:
            process.join(QUIET_S)
            process.kill()
    ledger.between_calls()
    took = (ended_at[0] or time.monotonic()) - began
    count = f"{ledger.handed_over:,} hand-overs"
    line = f"W4: {count} of {NAMES} names in {took:.0f} s by {PROCESSES * CLIENTS} clients; of each turn {2 * DIES:.1%} ended by a kill of the client; "
    line += f"a replica was killed every {REPLICA_LIVES_S} s; {ledger.lapsed:,} tickets lapsed."
    figures = {"order errors": ledger.order_errors, "starved": ledger.starved(), "two holders": ledger.two_holders, "lost wake-ups": ledger.lost_wake_ups}
    return [Row("W4", what, [value], "W4", "", count) for what, value in figures.items()], line
