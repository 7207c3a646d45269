"""C7: what a registered pool, its slots and many tenants cost in requests/s, beside raw Redis."""

import sys
from dataclasses import replace

from .limits import CLIENTS
from .rounds import Row, Samples, alternate, pairs, ratio, reference
from .servers import Servers, Setup

POOL, CAPACITY = "gpu", 1_000
TENANTS = CLIENTS
"""Each client calls for a tenant of its own, so no two calls share a script."""


def with_pool(servers: Servers) -> Setup:
    setup = servers.setup()
    status, answer = setup.replica.call("POST", "/api/v1/Resource/register", {"X-Api-Key": setup.key}, [{"name": POOL, "capacity": CAPACITY}])
    if status != 200:
        raise RuntimeError(f"a pool was answered {status}: {answer}")
    return setup


def with_tenants(servers: Servers) -> Setup:
    setup = servers.setup()
    others = (servers.tenant(setup.replica) for _ in range(TENANTS - 1))
    return replace(setup, key=",".join([setup.key, *others]))


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    """Each has a Redis and a replica of its own, but for slots, which are of the registered pool."""
    print(f"C7: reserve and unreserve of each kind, {CLIENTS} connections", file=sys.stderr)
    redis, plain, pool, tenants = servers.redis(), servers.setup(), with_pool(servers), with_tenants(servers)
    many = ("--window-s", window_s, "--clients", CLIENTS)
    kinds = {
        "plain": ("plain names, nothing registered", lambda: pairs(plain, *many)),
        "pool": ("plain names, a pool registered", lambda: pairs(pool, *many)),
        "slots": (f"slots of a pool of {CAPACITY:,}", lambda: pairs(pool, *many, "--pool", POOL)),
        "tenants": (f"{TENANTS} tenants with a key each", lambda: pairs(tenants, *many)),
    }
    samples = alternate(rounds, {"raw": lambda: reference(redis, *many), **{name: run for name, (_, run) in kinds.items()}})
    over = "requests/s over raw EVALSHA's: "
    rows = [ratio("C7", over + what, samples[name], samples["raw"], "requests_per_s", "per s", f"C7 {name}") for name, (what, _) in kinds.items()]
    return rows, {"kinds": samples}
