"""Waiting: how soon the next one has it, what that costs, and whether anybody is forgotten.

Run it by `make bench-waiting`, or, when the binary is built: PYTHONPATH=bench python3 -m waiting W1 --holdfast target/release/holdfast
"""

import argparse
import resource
import shutil
import sys
import time
from pathlib import Path

from speed import machine
from speed.report import conditions, rows_table
from speed.servers import ROOT, Servers

from . import contest, cost, latency, soak

PARTS = {"latency": "W1, W2, W5", "contest": "W3", "soak": "W4", "cost": "W6"}

METHOD = """Milestone and aim are those of `bench/README.md`. A figure is the median over the rounds of what each round gave; the least and the greatest stand
beside it. W1 and W2 are counted from the first byte of the answer to the release on one replica to the first byte of the answer of the held call on the other. Redis
runs without persistence. Clients are Python's, on the same cores; those of W3 are the same threads in the same two processes for each peer."""


def arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {name:<9} {what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(prog="waiting", description=f"{__doc__}\nparts:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to measure; everything by default")
    parser.add_argument("--holdfast", type=Path, default=ROOT / "target/release/holdfast", help="the binary")
    parser.add_argument("--profile", default="release", help="how it was built, for the report; release")
    parser.add_argument("--rounds", type=int, default=5, help="5")
    parser.add_argument("--window", type=float, default=3.0, metavar="SECONDS", help="of a run of W3; 3")
    parser.add_argument("--hand-overs", type=int, default=50_000, help="of W4; 50,000")
    parser.add_argument("--minutes", type=float, default=60, help="of W4 at most; 60")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>-waiting.md")
    given = parser.parse_args()
    for part in given.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    if given.rounds < 1 or min(given.window, given.hand_overs, given.minutes) <= 0:
        parser.error("--rounds, --window, --hand-overs and --minutes must be above 0")
    if not given.holdfast.exists():
        parser.error(f"{given.holdfast} is not there")
    if not shutil.which("redis-server"):
        parser.error("redis-server is not installed; `scripts/need redis-server` installs it")
    return given


def main() -> None:
    given = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began, cal_ms, steal = time.monotonic(), machine.cal_ms(), machine.Steal()
    rows, below, failures = [], [], []
    for part in given.parts or PARTS:
        print(part, file=sys.stderr)
        try:
            with Servers(given.holdfast.resolve()) as servers:
                if part == "latency":
                    rows += latency.measure(servers, given.rounds)
                elif part == "contest":
                    its, samples, absent = contest.measure(servers, given.rounds, given.window)
                    rows += its
                    below += ["## W3", contest.METHOD, contest.table(samples), conditions({"W3": samples}), *(f"Left out: {name} is not installed." for name in absent)]
                elif part == "soak":
                    its, line = soak.measure(servers, given.hand_overs, given.minutes)
                    rows += its
                    below.append(line)
                else:
                    rows += cost.measure(servers, given.rounds)
        except (RuntimeError, TimeoutError, OSError) as fault:
            failures.append(f"{part}: {str(fault).splitlines()[0]}")
            print(f"bench: {fault}", file=sys.stderr)
    date, minutes = time.strftime("%Y-%m-%d"), (time.monotonic() - began) / 60
    described = ", ".join(f"{name}: {value}" for name, value in machine.described(given.holdfast.resolve()).items())
    settings = f"Built with the profile {given.profile}. {given.rounds} rounds, in {minutes:.0f} minutes. A fixed loop took {cal_ms:.0f} ms before them and "
    settings += f"{machine.cal_ms():.0f} ms after; the host took {steal.percent():.0f} % of the cores away meanwhile."
    rows.sort(key=lambda row: row.id)
    parts = [f"# Waiting on {date}", f"{described}.", settings, METHOD, rows_table(rows) if rows else "", *below]
    parts += [f"**Not measured, for it failed:** {failure}" for failure in failures]
    text = "\n\n".join(part for part in parts if part) + "\n"
    print(text)
    if given.save:
        file = ROOT / f"bench/results/{date}-waiting.md"
        file.write_text(text)
        print(f"written to {file.relative_to(ROOT)}", file=sys.stderr)
    if failures:
        sys.exit(1)


main()
