"""W3: hand-overs of one name among 64 clients in a loop, Holdfast and its peers in turn."""

import itertools
import shutil
import statistics
import sys

from speed import peers
from speed.rounds import Row, Sample, Samples, alternate
from speed.servers import Servers

CLIENTS = 64

METHOD = """A hand-over is a turn whose holder is another client than the one before; a turn of the same client again hands over to nobody. All are counted in
the same way: in memory that the client processes share, and that only who has the name reads and writes, which also shows if two have it. A client waits from
when it begins to ask until it has the name; unserved are those of the clients that had no turn within the window."""


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], Samples, list[str]]:
    """The row, every run, and a line for each peer that is not here."""
    setup, redis = servers.setup(replicas=2), servers.redis()
    if not peers.PYTHON.exists():
        raise RuntimeError("the clients are not installed; `make bench-tools` installs them")
    numbers = itertools.count()

    def turns(what: str, port: object, key: str = "-") -> Sample:
        memory = servers.dir / f"turns-{next(numbers)}"
        return total(peers.shares([str(peers.PYTHON), "turns.py", what, str(port), key, str(memory)], CLIENTS, window_s))

    ports = ",".join(str(replica.port) for replica in setup.replicas)
    runs = {"Holdfast, two replicas": lambda: turns("holdfast", ports, setup.key)}
    runs["BLPOP lock (python-redis-lock)"] = lambda: turns("blpop", redis.port)
    runs["redis-py's Lock"] = lambda: turns("redis-py", redis.port)
    absent = []
    if shutil.which("etcd"):
        etcd = peers.start_etcd(servers).port
        runs["etcd, lock API"] = lambda: turns("etcd", etcd)
    else:
        absent.append("etcd")
    if peers.ZOOKEEPER.exists() and shutil.which("java"):
        zookeeper = peers.start_zookeeper(servers)
        runs["ZooKeeper, kazoo's Lock"] = lambda: turns("zookeeper", zookeeper)
    else:
        absent.append("ZooKeeper")
    for name in absent:
        print(f"bench: {name} is not installed; `make bench-tools` installs it", file=sys.stderr)
    samples = alternate(rounds, runs)
    ours, *others = samples
    best = max(others, key=lambda name: statistics.median(sample["hand_overs_per_s"] for sample in samples[name]))
    ratios = [our["hand_overs_per_s"] / their["hand_overs_per_s"] for our, their in zip(samples[ours], samples[best])]
    row = Row("W3", f"hand-overs/s of one name, {CLIENTS} waiting clients in a loop, over the best peer ({best})", ratios, "W3", " x")
    return [row], samples, absent


def total(outputs: list[Sample]) -> Sample:
    """One run, of what its processes say."""
    per_s = lambda what: sum(one[what] / one["seconds"] for one in outputs)
    worst = lambda what: max(one[what] for one in outputs)
    sample = {"hand_overs_per_s": per_s("hand_overs"), "turns_per_s": per_s("pairs"), "unserved": sum(one["unserved"] for one in outputs)}
    return {**sample, "requests_per_s": 2 * sample["turns_per_s"], "longest_s": worst("longest_s"), "p50_us": worst("p50_us"), "p99_us": worst("p99_us")}


def table(samples: Samples) -> str:
    head = ["", "hand-overs/s, median", "least .. greatest", "turns/s", f"unserved of {CLIENTS}, median and most", "longest wait, s", "a wait, p50 / p99 ms"]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for name, runs in samples.items():
        of = lambda what: sorted(run[what] for run in runs)
        middle = lambda what: statistics.median(of(what))
        rates, unserved = of("hand_overs_per_s"), f"{middle('unserved'):.0f}, {of('unserved')[-1]:.0f}"
        spread, longest = f"{rates[0]:,.0f} .. {rates[-1]:,.0f}", f"{of('longest_s')[-1]:.2f}"
        waits = f"{middle('p50_us') / 1e3:,.1f} / {middle('p99_us') / 1e3:,.1f}"
        cells = [name, f"{middle('hand_overs_per_s'):,.0f}", spread, f"{middle('turns_per_s'):,.0f}", unserved, longest, waits]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
