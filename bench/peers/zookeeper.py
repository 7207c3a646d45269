"""kazoo: PORT lock|create PROCESS CLIENTS WARM_S WINDOW_S. Each client, with a session of its own, takes a name of its own at random by kazoo's Lock
or by an ephemeral node, and gives it back. Prints one line of JSON."""

import random
import sys
import threading

from kazoo.client import KazooClient

from took import Took

NAMES = 100_000


def client(took: Took, zookeeper: KazooClient, how: str, path: str, names: int) -> None:
    zookeeper.ensure_path(path)
    while not took.over():
        name = f"{path}/{random.randrange(names)}"
        with took.pair():
            if how == "lock":
                lock = zookeeper.Lock(name)
                lock.acquire()
                lock.release()
            else:
                zookeeper.create(name, b"holder-0001", ephemeral=True)
                zookeeper.delete(name)


def main() -> None:
    port, how, number, clients = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    sessions = [KazooClient(f"127.0.0.1:{port}") for _ in range(clients)]
    for session in sessions:
        session.start()
    took = Took(*map(float, sys.argv[5:7]))
    threads = [
        threading.Thread(target=client, args=(took, session, how, f"/{how}/{number}-{which}", NAMES // clients)) for which, session in enumerate(sessions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(took.summary())
    for session in sessions:
        session.stop()


main()
