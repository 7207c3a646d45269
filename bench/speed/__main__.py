"""Speed: Holdfast beside the limits of its parts and beside its peers, in one sitting.

Run it by `make bench`, or, when the programs are built: PYTHONPATH=bench python3 -m speed reserve --holdfast target/release/holdfast
"""

import argparse
import resource
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from . import growth, kinds, limits, machine, peers, replicas, report
from .rounds import Row, Samples
from .servers import BUILT, ROOT, Servers

PARTS = {
    "reserve": "S1 to S6: one replica beside raw Redis and a bare echo",
    "kinds": "C7: a registered pool, its slots, many tenants, beside raw Redis",
    "growth": "S7: with much held, known and open",
    "replicas": "S8: three replicas behind nginx",
    "idle": "S9: memory and CPU when nobody calls",
    "start": "S10: from start to ready",
    "peers": "etcd, ZooKeeper, webdis, redlock, redis-py",
}


def arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {name:<9} {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(prog="speed", description=f"{__doc__}\nparts:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to measure; everything by default")
    parser.add_argument("--holdfast", type=Path, default=ROOT / "target/release/holdfast", help="the binary")
    parser.add_argument("--rounds", type=int, default=5, help="of each run; 5")
    parser.add_argument("--window", type=float, default=2.0, metavar="SECONDS", help="that is measured of each run; 2")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>.md and .json")
    given = parser.parse_args()
    for part in given.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    if given.rounds < 1 or given.window <= 0:
        parser.error("--rounds and --window must be above 0")
    for program in (given.holdfast, BUILT / "load", BUILT / "echo"):
        if not program.exists():
            parser.error(f"{program} is not there; `make bench-build` builds it")
    if not shutil.which("redis-server"):
        parser.error("redis-server is not installed; `scripts/need redis-server` installs it")
    return given


@dataclass
class Sitting:
    """What is measured in one go."""

    given: argparse.Namespace
    rows: list[Row] = field(default_factory=list)
    samples: dict[str, Samples] = field(default_factory=dict)
    peers: tuple | None = None
    failures: list[str] = field(default_factory=list)

    def take(self, measured: tuple[list[Row], dict[str, Samples]]) -> None:
        self.rows += measured[0]
        self.samples |= measured[1]

    def part(self, name: str, measure: Callable[[Servers], None]) -> None:
        """If it is wanted, measures it with servers of its own. Should it fail, the others still count."""
        if name not in (self.given.parts or PARTS):
            return
        try:
            with Servers(self.given.holdfast.resolve()) as servers:
                measure(servers)
        except (RuntimeError, TimeoutError) as fault:
            self.failures.append(f"{name}: {str(fault).splitlines()[0]}")
            print(f"bench: {fault}", file=sys.stderr)

    def beside_peers(self, servers: Servers, rounds: int, window_s: float) -> None:
        self.peers = peers.measure(servers, rounds, window_s)
        self.samples |= {f"peers, {clients} clients": runs for clients, runs in self.peers[1].items()}


def main() -> None:
    given = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    began, sitting, pace = time.monotonic(), Sitting(given), (given.rounds, given.window)
    sitting.part("reserve", lambda servers: sitting.take(limits.measure(servers, *pace)))
    sitting.part("kinds", lambda servers: sitting.take(kinds.measure(servers, *pace)))
    sitting.part("growth", lambda servers: sitting.take(growth.measure(servers, *pace)))
    sitting.part("replicas", lambda servers: sitting.take(replicas.measure(servers, *pace)))
    sitting.part("idle", lambda servers: sitting.take(growth.idle(servers, *pace)))
    sitting.part("start", lambda servers: sitting.take(replicas.start(servers, *pace)))
    sitting.part("peers", lambda servers: sitting.beside_peers(servers, given.rounds, given.window / 2))

    date, described = time.strftime("%Y-%m-%d"), machine.described(given.holdfast.resolve())
    settings = f"{given.rounds} rounds of {given.window:g} s each, made in turn, in {(time.monotonic() - began) / 60:.0f} minutes."
    text = report.page(date, described, settings, sitting.rows, sitting.samples, sitting.peers, sitting.failures)
    print(text)
    if given.save:
        rows = [{**vars(row), "median": row.median, "verdict": row.verdict} for row in sitting.rows]
        file = report.save(ROOT / "bench/results", date, text, {"machine": described, "settings": settings, "rows": rows, "samples": sitting.samples})
        print(f"written to {file.relative_to(ROOT)}", file=sys.stderr)
    if sitting.failures:
        sys.exit(1)


main()
