"""W4: many hand-overs while clients and replicas are killed, checked by the ledger of what Redis published."""

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
from .messages import Subscription, events_of

NAMES = 64
PROCESSES, CLIENTS = 2, 64
TTL_S, WAIT_S, KEEP_ALIVE_S = 1, 60, 5
DIES = 0.002
"""Of how many turns a client is killed while it waits, and of how many while it holds."""
REPLICA_LIVES_S = 5
QUIET_S = TTL_S + WAIT_S + 2 * KEEP_ALIVE_S
QUIET_LEAST_S = 30


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


def kill_and_restart(servers: Servers, setup: Setup, stop) -> None:
    """The second replica is killed again and again, and comes back at its port."""
    replica: Server = setup.replicas[1]
    while not stop.wait(REPLICA_LIVES_S):
        subprocess.run(["kill", "-KILL", str(replica.pid)], check=False)
        replica = servers.replica(setup.redis, port=replica.port)


def tickets_in_line(setup: Setup) -> int:
    """Tickets that Redis has in line: of each the name that it waits for, and its requester."""
    script = "local keys, members = redis.call('KEYS', '*:lines'), 0\nfor n = 1, #keys do members = members + redis.call('ZCARD', keys[n]) end\nreturn members"
    return int(setup.redis.ask("EVAL", script, "0")) // 2


def measure(servers: Servers, hand_overs: int, minutes: float) -> tuple[list[Row], str]:
    """Ends after so many hand-overs, or so many minutes, whichever comes first."""
    setup = servers.setup(replicas=2)
    ledger, stop = Ledger(), multiprocessing.Event()
    ports = [replica.port for replica in setup.replicas]
    running = [multiprocessing.Process(target=clients, args=(ports, setup.key, number, stop), daemon=True) for number in range(PROCESSES)]
    killing = threading.Thread(target=kill_and_restart, args=(servers, setup, stop))
    published, began, ended_at, shown = Subscription(setup.redis), time.monotonic(), None, time.monotonic()
    for process in running:
        process.start()
    killing.start()
    try:
        for message in published.messages(1):
            for event in events_of(message) if message else ():
                ledger.note(event)
            now = time.monotonic()
            if now > shown + 10:
                shown = now
                print(f"  {ledger.handed_over:,} hand-overs in {now - began:.0f} s, {len(ledger.errors)} errors", file=sys.stderr)
            if not ended_at and (ledger.handed_over >= hand_overs or now > began + 60 * minutes):
                stop.set()
                ended_at = now
            # Whoever still waits then is not asked for any more, or its wait is over.
            if ended_at and (now > ended_at + 2 * QUIET_S or now > ended_at + QUIET_LEAST_S and not message and not ledger.starved()):
                break
    finally:
        stop.set()
        killing.join()
        for process in running:
            process.join(QUIET_S)
            process.kill()
        published.close()
    ledger.close()
    for error in ledger.errors:
        print(f"  {error}", file=sys.stderr)
    starved = ledger.starved()
    if tickets_in_line(setup) != starved:
        raise RuntimeError(f"the ledger has {starved} in line at the end, and Redis {tickets_in_line(setup)}")
    took, count = ended_at - began, f"{ledger.handed_over:,} hand-overs"
    line = f"W4: {count} of {NAMES} names in {took:.0f} s ({ledger.handed_over / took:,.0f}/s) by {PROCESSES * CLIENTS} clients; of each turn {2 * DIES:.1%} ended by a kill of the "
    line += f"client; a replica was killed every {REPLICA_LIVES_S} s; {ledger.lapsed:,} tickets lapsed, {ledger.in_pieces:,} hand-overs were left to the next call by one that had much to do."
    figures = {"order errors": ledger.order_errors, "starved": starved, "two holders": ledger.two_holders, "lost wake-ups": ledger.lost_wake_ups}
    return [Row("W4", what, [value], "W4", "", count) for what, value in figures.items()], line
