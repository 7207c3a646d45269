"""S1 to S6: one replica beside Redis and the HTTP library alone."""

import sys

from . import machine
from .rounds import Row, Sample, Samples, alternate, load, median, pairs, ratio, reference
from .servers import Redis, Server, Servers, Setup

CLIENTS = 64
BATCH = 100
RESERVES = 20_000
"""S3: names reserved, one per call, and then released at once."""

PLAIN, ONE_WORKER, READ = "holdfast", "holdfast, one worker", "holdfast, events read"
DURABLE, RAW_DURABLE = "holdfast, appendfsync everysec", "raw, appendfsync everysec"


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    redis, echo = servers.redis(), servers.echo()
    setups = {PLAIN: servers.setup(), ONE_WORKER: servers.setup(workers=1)}
    plain, followed = setups[PLAIN], servers.setup()
    durable, durable_redis = servers.setup(durable=True), servers.redis(durable=True)
    window = ("--window-s", window_s)
    many, one = (*window, "--clients", CLIENTS), (*window, "--clients", 1)
    say = lambda text: print(text, file=sys.stderr)

    def holdfast(*options: object) -> dict:
        return {name: lambda setup=setup: pairs(setup, *options) for name, setup in setups.items()}

    def read() -> Sample:
        # A server of its own: it stays subscribed for a while after the last reader, which other runs would pay for.
        with servers.streams(followed.replica, followed.key, 1):
            return pairs(followed, *many)

    say(f"S1, S2: reserve and unreserve, {CLIENTS} connections")
    beside = {"raw": lambda: reference(redis, *many), "echo": lambda: echoed(echo, *many)}
    logged = {RAW_DURABLE: lambda: reference(durable_redis, *many), DURABLE: lambda: pairs(durable, *many)}
    closed = alternate(rounds, {**beside, **holdfast(*many), READ: read, **logged})
    say("S3: reserve alone, with a core for Redis")
    alone = alternate(rounds, {"raw": lambda: reserved_raw(redis), PLAIN: lambda: reserved(plain)})
    say("S4: one connection")
    single = alternate(rounds, {"raw": lambda: reference(redis, *one), **holdfast(*one)})
    say("S5: open loop at half of the maximum")
    paced = alternate(rounds, {name: lambda setup=setup: at_half(setup, *many) for name, setup in setups.items()})
    say(f"S6: batches of {BATCH}")
    batches = alternate(rounds, {"single": lambda: pairs(plain, *many), "batch": lambda: pairs(plain, *many, "--batch", BATCH)})

    rows = []
    # With a reader, each event is also encoded and written: reported, but not part of the goal.
    for name, goal in ((PLAIN, "S1"), (ONE_WORKER, "S1"), (READ, None)):
        what = f"requests/s over raw EVALSHA's, {CLIENTS} connections: {name}"
        rows.append(ratio("S1", what, closed[name], closed["raw"], "requests_per_s", "per s", goal))
    rows.append(ratio("S1", "the same with appendfsync everysec on both sides", closed[DURABLE], closed[RAW_DURABLE], "requests_per_s", "per s", "S1"))
    rows.append(ratio("S1", "with appendfsync everysec over without persistence: holdfast", closed[DURABLE], closed[PLAIN], "requests_per_s", "per s"))
    rows.append(ratio("S1", "with appendfsync everysec over without persistence: raw", closed[RAW_DURABLE], closed["raw"], "requests_per_s", "per s"))
    for name, goal in ((PLAIN, "S2"), (ONE_WORKER, "S2"), (READ, None)):
        what = f"replica CPU per request over that of a bare poem-openapi echo: {name}"
        rows.append(ratio("S2", what, closed[name], closed["echo"], "replica_cpu_us", "us", goal))
    rows.append(ratio("S3", "Redis' time in scripts per reserve over the reference's", alone[PLAIN], alone["raw"], "script_us", "us", "S3"))
    rows.append(ratio("S3", "CPU of the whole Redis process per reserve", alone[PLAIN], alone["raw"], "redis_cpu_us", "us", "S3"))
    rows.append(ratio("S3", "the same per call of the pair, under S1's load", closed[PLAIN], closed["raw"], "redis_cpu_us", "us"))
    scripts = [sample["scripts"] for sample in closed[PLAIN]]
    rows.append(Row("S3", "scripts per request, under S1's load: calls of the same moment share one", scripts))
    rows.append(ratio("S3", "Redis' time in scripts per call of the pair, one connection: nothing is shared", single[PLAIN], single["raw"], "script_us", "us"))
    for name in setups:
        for quantile in ("p50", "p99"):
            what = f"{quantile} with 1 connection over raw EVALSHA's: {name}"
            rows.append(ratio("S4", what, single[name], single["raw"], f"{quantile}_us", "us", f"S4 {quantile}"))
    for name in setups:
        p99_ms = [sample["p99_us"] / 1e3 for sample in paced[name]]
        served, p50_ms = median(paced[name], "requests_per_s"), median(paced[name], "p50_us") / 1e3
        note = f"{median(paced[name], 'offered_per_s'):,.0f} requests/s offered, {served:,.0f} served; p50 {p50_ms:.2f} ms"
        rows.append(Row("S5", f"p99 in an open loop at half of the maximum: {name}", p99_ms, "S5", unit=" ms", note=note))
    what = f"items/s in batches of {BATCH} over single calls"
    rows.append(ratio("S6", what, batches["batch"], batches["single"], "requests_per_s", "items/s", "S6", scale=BATCH))
    return rows, {"closed loop": closed, "reserve alone": alone, "one connection": single, "open loop": paced, "batches": batches}


def echoed(echo: Server, *options: object) -> Sample:
    sample = load("echo", echo, *options, pids=(echo.pid,))
    return {**sample, "replica_cpu_us": sample["cpu_us_per_request"][0]}


def at_half(setup: Setup, *options: object) -> Sample:
    """Half of the maximum of just now: machines drift within minutes."""
    half = pairs(setup, *options)["requests_per_s"] / 2
    return {**pairs(setup, *options, "--rate", half), "offered_per_s": half}


def reserved_raw(redis: Redis) -> Sample:
    # With this many names, hardly one is reserved twice.
    with machine.apart(redis.pid, []):
        sample = reference(redis, "--clients", CLIENTS, "--calls", RESERVES, "--names", 50_000_000, "--reserve-only")
    redis.ask("FLUSHALL")
    return sample


def reserved(setup: Setup) -> Sample:
    try:
        with machine.apart(setup.redis.pid, [setup.replica.pid]):
            return pairs(setup, "--clients", CLIENTS, "--calls", RESERVES, "--reserve-only")
    finally:
        setup.replica.call("POST", "/api/v1/Reservation/reset", {"X-Api-Key": setup.key})
