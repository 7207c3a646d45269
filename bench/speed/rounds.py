"""Runs made in turn, round by round, and their medians and ratios."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Callable, TypeVar

from . import machine
from .goals import GOALS
from .servers import BUILT, ROOT, Redis, Server, Setup

Sample = dict[str, float]
Samples = dict[str, list[Sample]]
Made = TypeVar("Made")

ATTEMPTS = 3
"""Attempts of a run before its part fails."""


def load(kind: str, server: Server, *options: object, pids: tuple[int, ...] = ()) -> Sample:
    """One run of the generator."""
    words = [BUILT / "load", kind, "--addr", server.address, *options]
    if pids:
        words += ["--pids", ",".join(map(str, pids))]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"load {kind} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def with_redis(redis: Redis, run: Callable[[], Sample]) -> Sample:
    """The same, with what Redis itself counted of its scripts, per request: requests of the same moment may share one."""
    redis.ask("CONFIG", "RESETSTAT")
    sample = run()
    script_us, scripts = redis.scripts()
    return {**sample, "script_us": script_us / sample["answered"], "scripts": scripts / sample["answered"]}


def pairs(setup: Setup, *options: object, through: Server | None = None) -> Sample:
    """Reserve and unreserve over HTTP, with the CPU time of Redis and of the replicas together per request."""
    pids = (setup.redis.pid, *(replica.pid for replica in setup.replicas))
    sample = with_redis(setup.redis, lambda: load("holdfast", through or setup.replica, "--key", setup.key, *options, pids=pids))
    redis_us, *replica_us = sample["cpu_us_per_request"]
    return {**sample, "redis_cpu_us": redis_us, "replica_cpu_us": sum(replica_us)}


def reference(redis: Redis, *options: object) -> Sample:
    """The reference pair on raw Redis."""
    sample = with_redis(redis, lambda: load("redis", redis, *options, pids=(redis.pid,)))
    return {**sample, "redis_cpu_us": sample["cpu_us_per_request"][0]}


def alternate(rounds: int, runs: dict[str, Callable[[], Sample]]) -> Samples:
    """Each run once per round, in the opposite order in every other round, so that a drift favours nobody."""
    samples: Samples = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(reversed(runs))
        for name in names:
            sample = patiently(runs[name])
            samples[name].append(sample)
            figures = f"{sample['requests_per_s']:9.0f}/s  p99 {sample['p99_us'] / 1e3:7.2f} ms" if "requests_per_s" in sample else ""
            print(f"  round {number + 1}  {name:<28} {figures}  cal {sample['cal_ms']:.0f} ms  steal {sample['steal_percent']:.0f} %", file=sys.stderr)
    return samples


def patiently(run: Callable[[], Sample]) -> Sample:
    """A run, with the machine's speed and the stolen time beside it."""

    def once() -> Sample:
        cal_ms, steal = machine.cal_ms(), machine.Steal()
        return {**run(), "cal_ms": cal_ms, "steal_percent": steal.percent()}

    sample, failed = again(once)
    return {**sample, "failed": failed}


def again(make: Callable[[], Made]) -> tuple[Made, int]:
    """Repeats a failed run, and reports how often: a machine that stood still for seconds should not cost all that was
    measured before, and must not go unnoticed either."""
    for failed in range(ATTEMPTS - 1):
        try:
            return make(), failed
        except RuntimeError as fault:
            print(f"bench: {fault}", file=sys.stderr)
    return make(), ATTEMPTS - 1


@dataclass
class Row:
    """One figure, beside its goal if it has one."""

    id: str
    what: str
    values: list[float]
    """One per round, or per repetition."""
    goal: str | None = None
    """Its name in `GOALS`."""
    unit: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        return GOALS[self.goal].verdict(self.median) if self.goal else ""


def median(samples: list[Sample], what: str) -> float:
    return statistics.median(sample[what] for sample in samples)


def ratio(id: str, what: str, above: list[Sample], below: list[Sample], of: str, unit: str, goal: str | None = None, scale: float = 1) -> Row:
    """One figure over another, round by round; `scale` is how many of theirs one of ours counts as."""
    values = [scale * a[of] / b[of] for a, b in zip(above, below, strict=True)]
    figures = [scale * median(above, of), median(below, of)]
    digits = 0 if min(figures) >= 100 else 1
    return Row(id, what, values, goal, note=" over ".join(f"{figure:,.{digits}f}" for figure in figures) + f" {unit}")
