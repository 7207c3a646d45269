"""W3: hand-overs of one name among 64 clients in a loop, Holdfast and its peers in turn."""

import shutil
import statistics
import sys

from speed import peers
from speed.rounds import Row, Samples, alternate
from speed.servers import Servers

CLIENTS = 64


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], Samples, list[str]]:
    """The row, every run, and a line for each peer that is not here."""
    setup, redis = servers.setup(replicas=2), servers.redis()
    if not peers.PYTHON.exists():
        raise RuntimeError("the clients are not installed; `make bench-tools` installs them")
    turns = lambda what, port, *more: peers.by_itself(peers.PYTHON, "turns.py", what, port, *(more or ("-",)))
    ports = ",".join(str(replica.port) for replica in setup.replicas)
    runs = {"Holdfast, two replicas": turns("holdfast", ports, setup.key)}
    runs["BLPOP lock (python-redis-lock)"] = turns("blpop", redis.port)
    runs["redis-py's Lock"] = turns("redis-py", redis.port)
    absent = []
    if shutil.which("etcd"):
        runs["etcd, lock API"] = turns("etcd", peers.start_etcd(servers).port)
    else:
        absent.append("etcd")
    if peers.ZOOKEEPER.exists() and shutil.which("java"):
        runs["ZooKeeper, kazoo's Lock"] = turns("zookeeper", peers.start_zookeeper(servers))
    else:
        absent.append("ZooKeeper")
    for name in absent:
        print(f"bench: {name} is not installed; `make bench-tools` installs it", file=sys.stderr)
    samples = alternate(rounds, {name: lambda run=run: run(CLIENTS, window_s) for name, run in runs.items()})
    ours, *others = samples
    best = max(others, key=lambda name: statistics.median(sample["pairs_per_s"] for sample in samples[name]))
    ratios = [our["pairs_per_s"] / their["pairs_per_s"] for our, their in zip(samples[ours], samples[best])]
    row = Row("W3", f"hand-overs/s of one name, {CLIENTS} waiting clients in a loop, over the best peer ({best})", ratios, "W3", " x")
    return [row], samples, absent


def table(samples: Samples) -> str:
    lines = ["| | hand-overs/s, median | least .. greatest | a turn, p50 / p99 ms |", "| --- | --- | --- | --- |"]
    for name, runs in samples.items():
        rates = sorted(run["pairs_per_s"] for run in runs)
        middle = lambda what: statistics.median(run[what] for run in runs) / 1e3
        lines.append(f"| {name} | {statistics.median(rates):,.0f} | {rates[0]:,.0f} .. {rates[-1]:,.0f} | {middle('p50_us'):,.1f} / {middle('p99_us'):,.1f} |")
    return "\n".join(lines)
