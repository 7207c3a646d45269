"""S7 and S9: the cost of many reservations, tenants and streams, under load and idle."""

import resource
import sys
import time

from . import machine
from .rounds import Row, Sample, Samples, again, alternate, load, pairs, ratio
from .servers import ADMIN_KEY, TIER, Servers, Setup

FEW, SOME, MANY = 10, 10_000, 1_000_000
TENANTS = 100_000
STREAMS = 10_000
SPARE_FILES = 500


def holding(servers: Servers, number: int) -> Setup:
    """A tenant that holds so many names for an hour."""

    def fill() -> Setup:
        setup = servers.setup()
        batch = min(number, 500)
        calls = number // batch
        load("holdfast", setup.replica, "--key", setup.key, "--reserve-only", "--batch", batch, "--calls", calls, "--clients", min(4, calls))
        return setup

    return again(fill)[0]


def crowded(servers: Servers) -> Setup:
    """Tenants, each of which has called the replica once."""

    def fill() -> Setup:
        print(f"making {TENANTS:,} tenants", file=sys.stderr)
        setup = servers.setup()
        load("tenants", setup.replica, "--admin-key", ADMIN_KEY, "--tier", TIER, "--calls", 2 * TENANTS, "--clients", 32)
        return setup

    return again(fill)[0]


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    """S7. Each state has a Redis and a replica of its own."""
    print(f"S7: filling up to {MANY:,} reservations", file=sys.stderr)
    window = ("--window-s", window_s)
    states = {f"{number:,} held": holding(servers, number) for number in (FEW, SOME, MANY)} | {f"{TENANTS:,} tenants known": crowded(servers)}
    base, *grown = states
    samples = alternate(rounds, {name: lambda setup=setup: pairs(setup, *window) for name, setup in states.items()})

    # A stream that is idle still beats, so these are open only while they are measured. They are another tenant's, which has no events,
    # and whose tier has no limit of them: where there is one, each that enters looks at all that are there, which is meant for tens.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = min(STREAMS, files - SPARE_FILES)
    with_streams, without = f"{number:,} idle streams", "without streams"
    replica = states[base].replica
    idle_key = servers.tenant(replica, "Enterprise")

    def streaming() -> Sample:
        with servers.streams(replica, idle_key, number):
            return pairs(states[base], *window)

    samples |= alternate(rounds, {without: lambda: pairs(states[base], *window), with_streams: streaming})
    rows = [slowdown(f"{name} against {base}", samples[base], samples[name]) for name in grown]
    rows.append(slowdown(f"{with_streams} against none", samples[without], samples[with_streams]))
    return rows, {"growth": samples}


def slowdown(what: str, base: list[Sample], grown: list[Sample]) -> Row:
    row = ratio("S7", f"slowdown: {what}", base, grown, "requests_per_s", "per s", "S7")
    cpu = [ratio("", "", grown, base, of, "us").median for of in ("replica_cpu_us", "redis_cpu_us")]
    row.note += f"; CPU per request, replica {cpu[0]:.2f}, Redis {cpu[1]:.2f} times"
    return row


def idle(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    """S9. The replica that knows all tenants, alone with Redis; and then one that has just begun beside it."""
    crowd = crowded(servers)
    print("S9: idle", file=sys.stderr)
    samples = watched({"replica that served all": crowd.replica.pid, "Redis": crowd.redis.pid}, rounds, 2 * window_s)
    samples |= watched({"replica that has just begun": servers.replica(crowd.redis).pid}, rounds, 2 * window_s)
    rows = []
    for name, seen in samples.items():
        memory, cpu = [sample["resident_mib"] for sample in seen], [sample["cpu_percent"] for sample in seen]
        rows.append(Row("S9", f"resident memory with {TENANTS:,} tenants: {name}", memory, None if name == "Redis" else "S9 memory", unit=" MiB"))
        rows.append(Row("S9", f"idle CPU with {TENANTS:,} tenants: {name}", cpu, "S9 CPU", unit=" %"))
    return rows, {"idle": samples}


def watched(pids: dict[str, int], rounds: int, window_s: float) -> Samples:
    """Memory and CPU of idle processes, once they have settled."""
    samples: Samples = {name: [] for name in pids}
    for number in range(rounds + 1):
        before, began = {name: machine.cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
        time.sleep(window_s)
        wall_s = time.monotonic() - began
        for name, pid in pids.items():
            percent = 100 * (machine.cpu_s(pid) - before[name]) / wall_s
            if number > 0:
                samples[name].append({"cpu_percent": percent, "resident_mib": machine.resident_mib(pid)})
    return samples
