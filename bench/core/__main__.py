"""The decision core: what its functions cost Redis, in instructions, and the dearest calls, by the clock.

Run it by `make bench-core`, or: PYTHONPATH=bench python3 -m core C2 C8
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

from speed import machine
from speed.report import rows_table
from speed.rounds import Row

from . import dearest, dearest_others, instructions  # noqa: F401: the others add cases
from .library import ROOT, library, lines_by_folder

ROWS = ("C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9")
PROGRAMS = ("redis-server", "valgrind", "callgrind_control")

METHOD = """C1 to C6 are instructions of Redis within FCALL, counted by callgrind: means of taking and giving back, the collector's share included. Each tenant
holds 1,000 plain names beside what is measured, and has a finite tier and a history at its greatest length. A figure is the median over the rounds; the least
and the greatest stand beside it. C8 is the time of Redis' thread for one call, by the scheduler: the dearest call of each case, whatever was answered."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="core", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"what to measure, of {', '.join(ROWS)}; everything by default")
    parser.add_argument("--rounds", type=int, default=5, help="5")
    parser.add_argument("--save", action="store_true", help="write bench/results/<date>-core.md")
    given = parser.parse_args()
    for row in given.rows:
        if row not in ROWS:
            parser.error(f"there is no row {row!r}; there are {', '.join(ROWS)}")
    if given.rounds < 1:
        parser.error("--rounds must be above 0")
    for program in PROGRAMS:
        if not shutil.which(program):
            parser.error(f"{program} is not installed; `scripts/need redis-server valgrind` installs it")
    return given


def size() -> str:
    """C9."""
    counted = lines_by_folder()
    folders = ", ".join(f"{folder} {lines:,}" for folder, lines in counted.items())
    return f"C9: {sum(counted.values()):,} lines of Lua ({folders}); the library has {len(library()[1]):,} bytes."


def page(date: str, settings: str, rows: list[Row], lines: str) -> str:
    described = ", ".join(f"{name}: {value}" for name, value in machine.host().items())
    parts = [f"# Decision core on {date}", f"{described}.", settings, METHOD, rows_table(rows) if rows else "", lines]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    given = arguments()
    began, cal_ms = time.monotonic(), machine.cal_ms()
    rows = instructions.measure(given.rounds, given.rows)
    if not given.rows or "C8" in given.rows:
        rows += dearest.measure(given.rounds)
    date, minutes = time.strftime("%Y-%m-%d"), (time.monotonic() - began) / 60
    settings = f"{given.rounds} rounds, made in turn, in {minutes:.0f} minutes. A fixed loop took {cal_ms:.0f} ms before them and {machine.cal_ms():.0f} ms after."
    text = page(date, settings, rows, size() if not given.rows or "C9" in given.rows else "")
    print(text)
    if given.save:
        file = Path(ROOT) / f"bench/results/{date}-core.md"
        file.write_text(text)
        print(f"written to {file.relative_to(ROOT)}", file=sys.stderr)


main()
