"""Clients that take turns at one name: WHAT PORTS KEY MEMORY PROCESS CLIENTS WARM_S WINDOW_S. Each waits for the name, has it, gives it back, and begins
anew; MEMORY is a file that the processes of one run share. Prints one line of JSON."""

import base64
import http.client
import json
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable

from hand_overs import Shared, Turns

TTL_S = 30
NAME = "turns"
PROCESS_CLIENTS = 1_000
"""Numbers of clients that a process has."""

Turn = Callable[[Callable[[], AbstractContextManager]], None]
"""Waits for the name, has it within what the argument makes, and gives it back."""

closing: list[Callable[[], None]] = []
"""What ends the threads of sessions."""


class Http:
    def __init__(self, port: int, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Content-Type": "application/json", **headers}

    def post(self, path: str, body: object) -> object:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered {answer.status}: {said[:300]!r}")
        return json.loads(said)


def holdfast(ports: list[int], key: str, who: str, number: int) -> Turn:
    api = Http(ports[number % len(ports)], **{"X-Api-Key": key})
    item = {"requester": who, "resource": NAME, "ttlSeconds": TTL_S, "waitSeconds": 3600}

    def turn(held: Callable[[], AbstractContextManager]) -> None:
        while (got := api.post("/api/v1/Reservation/reserve?hold=60", [item])[0])["status"] == "WAITING":
            pass
        if got["status"] != "ACQUIRED":
            raise RuntimeError(f"a grant was expected: {got}")
        with held():
            pass
        claim = {"requester": who, "resource": NAME, "releaseToken": got["releaseToken"]}
        api.post("/api/v1/Reservation/unreserve", [claim])

    return turn


def etcd(ports: list[int], _key: str, _who: str, _number: int) -> Turn:
    api = Http(ports[0])
    name = base64.b64encode(NAME.encode()).decode()
    lease = api.post("/v3/lease/grant", {"TTL": "3600"})["ID"]

    def turn(held: Callable[[], AbstractContextManager]) -> None:
        key = api.post("/v3/lock/lock", {"name": name, "lease": lease})["key"]
        with held():
            pass
        api.post("/v3/lock/unlock", {"key": key})

    return turn


def zookeeper(ports: list[int], _key: str, who: str, _number: int) -> Turn:
    from kazoo.client import KazooClient

    session = KazooClient(f"127.0.0.1:{ports[0]}")
    session.start()
    closing.append(session.stop)

    def turn(held: Callable[[], AbstractContextManager]) -> None:
        with session.Lock(f"/{NAME}", who), held():
            pass

    return turn


def blpop(ports: list[int], _key: str, _who: str, _number: int) -> Turn:
    import redis
    import redis_lock

    client = redis.Redis(port=ports[0])

    def turn(held: Callable[[], AbstractContextManager]) -> None:
        with redis_lock.Lock(client, NAME, expire=TTL_S), held():
            pass

    return turn


def redis_py(ports: list[int], _key: str, _who: str, _number: int) -> Turn:
    import redis

    client = redis.Redis(port=ports[0])

    def turn(held: Callable[[], AbstractContextManager]) -> None:
        with client.lock(f"py:{NAME}", timeout=TTL_S), held():
            pass

    return turn


KINDS = {"holdfast": holdfast, "etcd": etcd, "zookeeper": zookeeper, "blpop": blpop, "redis-py": redis_py}


def main() -> None:
    kind, ports, key = KINDS[sys.argv[1]], [int(port) for port in sys.argv[2].split(",")], sys.argv[3]
    shared, process = Shared(Path(sys.argv[4])), int(sys.argv[5])
    numbers = [process * PROCESS_CLIENTS + number + 1 for number in range(int(sys.argv[6]))]
    turns = [kind(ports, key, f"{process}-{number}", number) for number in numbers]
    counted, failures = Turns(shared, numbers, *map(float, sys.argv[7:9])), []

    def client(number: int, turn: Turn) -> None:
        try:
            while not counted.over():
                asked = time.perf_counter()
                turn(lambda: counted.held(number, asked))
        except Exception as fault:  # noqa: BLE001: reported below, whatever it is
            failures.append(fault)

    threads = [threading.Thread(target=client, args=of) for of in zip(numbers, turns)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for close in closing:
        close()
    if failures:
        raise failures[0]
    print(counted.text(), flush=True)


main()
