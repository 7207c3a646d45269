"""Clients that take turns at one name: WHAT PORTS KEY PROCESS CLIENTS WARM_S WINDOW_S. Each waits for the name, has it, gives it back, and begins anew.
Prints one line of JSON."""

import base64
import http.client
import json
import sys
import threading
from typing import Callable

from took import Took

TTL_S = 30
NAME = "turns"
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


def holdfast(ports: list[int], key: str, who: str, number: int) -> Callable[[], None]:
    api = Http(ports[number % len(ports)], **{"X-Api-Key": key})
    item = {"requester": who, "resource": NAME, "ttlSeconds": TTL_S, "waitSeconds": 3600}

    def turn() -> None:
        while (got := api.post("/api/v1/Reservation/reserve?hold=60", [item])[0])["status"] == "WAITING":
            pass
        if got["status"] != "ACQUIRED":
            raise RuntimeError(f"a grant was expected: {got}")
        claim = {"requester": who, "resource": NAME, "releaseToken": got["releaseToken"]}
        api.post("/api/v1/Reservation/unreserve", [claim])

    return turn


def etcd(ports: list[int], _key: str, _who: str, _number: int) -> Callable[[], None]:
    api = Http(ports[0])
    name = base64.b64encode(NAME.encode()).decode()
    lease = api.post("/v3/lease/grant", {"TTL": "3600"})["ID"]

    def turn() -> None:
        api.post("/v3/lock/unlock", {"key": api.post("/v3/lock/lock", {"name": name, "lease": lease})["key"]})

    return turn


def zookeeper(ports: list[int], _key: str, who: str, _number: int) -> Callable[[], None]:
    from kazoo.client import KazooClient

    session = KazooClient(f"127.0.0.1:{ports[0]}")
    session.start()
    closing.append(session.stop)

    def turn() -> None:
        with session.Lock(f"/{NAME}", who):
            pass

    return turn


def blpop(ports: list[int], _key: str, _who: str, _number: int) -> Callable[[], None]:
    import redis
    import redis_lock

    client = redis.Redis(port=ports[0])

    def turn() -> None:
        with redis_lock.Lock(client, NAME, expire=TTL_S):
            pass

    return turn


def redis_py(ports: list[int], _key: str, _who: str, _number: int) -> Callable[[], None]:
    import redis

    client = redis.Redis(port=ports[0])

    def turn() -> None:
        with client.lock(f"py:{NAME}", timeout=TTL_S):
            pass

    return turn


KINDS = {"holdfast": holdfast, "etcd": etcd, "zookeeper": zookeeper, "blpop": blpop, "redis-py": redis_py}


def main() -> None:
    kind, ports, key = KINDS[sys.argv[1]], [int(port) for port in sys.argv[2].split(",")], sys.argv[3]
    process, clients = int(sys.argv[4]), int(sys.argv[5])
    turns = [kind(ports, key, f"{process}-{number}", number) for number in range(clients)]
    took, failures = Took(*map(float, sys.argv[6:8])), []

    def client(turn: Callable[[], None]) -> None:
        try:
            while not took.over():
                with took.pair():
                    turn()
        except Exception as fault:  # noqa: BLE001: reported below, whatever it is
            failures.append(fault)

    threads = [threading.Thread(target=client, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for close in closing:
        close()
    if failures:
        raise failures[0]
    print(took.summary(), flush=True)


main()
