"""C1 to C6: what a call costs Redis in instructions, which no other process and no clock changes.

Each round counts every setting once, in the opposite order in every other round; a ratio is that of one round.
"""

import sys
from dataclasses import dataclass
from typing import Callable

from speed.rounds import Row

from .calls import Definition, Item, Tenant
from .redis import CountedRedis

HELD = 1_000
"""Plain names that each tenant holds beside what is measured."""
WARM_PAIRS = 600
"""Pairs before anything is counted: the history is as long as it may be, and what is remembered is remembered."""
PAIRS = 200
"""Pairs of a count: eight of the collections that Redis forces at each 50th call."""
SHARING = 32
SHARED_CALLS = 12

GPU = "gpu"
LEAF = Definition("site/berlin/press", ancestors=("site", "site/berlin"))
CRANE = Definition("crane", blocks=("rail-a", "rail-b"))


@dataclass
class Setting:
    """A tenant, and what is done with it."""

    what: str
    take_and_give: Callable[[Tenant, int], int]
    """Does it; answers over how many calls, or items, its instructions are to be spread."""
    definitions: tuple[Definition, ...] = ()
    held_slots: int = 0


def singles(name_of: Callable[[int], str], at_once: int) -> Callable[[Tenant, int], int]:
    """Calls of one item: so many things are taken one by one, then given back."""

    def run(tenant: Tenant, round_number: int) -> int:
        for first in range(0, PAIRS, at_once):
            items = [Item.of(f"worker-{round_number}-{n}", name_of(n)) for n in range(first, first + at_once)]
            for item in items:
                tenant.take(item)
            for item in items:
                tenant.give(item)
        return 2 * PAIRS

    return run


def groups(tenant: Tenant, round_number: int) -> int:
    """ALL_OR_NONE of four plain names."""
    taken = [[Item.of(f"worker-{round_number}-{n}", f"build/{n}-{at}") for at in range(4)] for n in range(PAIRS)]
    for request in ("RESERVE", "UNRESERVE"):
        for items in taken:
            if tenant.must(tenant.group(request, items)).rest[0] != b"APPLIED":
                raise RuntimeError("a transaction was rolled back")
    return 2 * PAIRS


def sharing(tenant: Tenant, round_number: int) -> int:
    for _ in range(SHARED_CALLS):
        items = [Item.of(f"worker-{round_number}-{n}", f"build/{n}") for n in range(SHARING)]
        tenant.shared("RESERVE", items)
        tenant.shared("UNRESERVE", items)
    return 2 * SHARED_CALLS * SHARING


def plain(n: int) -> str:
    return f"build/linux-{n}"


def always(name: str) -> Callable[[int], str]:
    return lambda _: name


POOL, LARGE_POOL = Definition(GPU, 1_000), Definition(GPU, 100_000)
SETTINGS = {
    "plain": Setting("plain names, nothing registered", singles(plain, PAIRS)),
    "plain in turn": Setting("one plain name after the other, nothing registered", singles(plain, 1)),
    "beside a pool": Setting("plain names, a pool registered", singles(plain, PAIRS), (POOL,)),
    "few slots": Setting("slot of a pool of 1,000, 0 to 200 held", singles(always(GPU), PAIRS), (POOL,)),
    "half the slots": Setting("slot of a pool of 1,000, half held", singles(always(GPU), PAIRS), (POOL,), 500),
    "few of many slots": Setting("slot of a pool of 100,000, 0 to 200 held", singles(always(GPU), PAIRS), (LARGE_POOL,)),
    "half of many slots": Setting("slot of a pool of 100,000, half held", singles(always(GPU), PAIRS), (LARGE_POOL,), 50_000),
    "leaf": Setting("leaf of depth 3", singles(always(LEAF.name), 1), (LEAF,)),
    "blockers": Setting("name with two blockers", singles(always(CRANE.name), 1), (CRANE,)),
    "group": Setting("ALL_OR_NONE of 4 plain names, nothing registered", groups),
    "group beside a pool": Setting("ALL_OR_NONE of 4 plain names, a pool registered", groups, (POOL,)),
    "sharing": Setting("32 calls share one, plain names, per item", sharing),
}
RATIOS = [
    ("C1", "beside a pool", "plain"),
    ("C2", "few slots", "plain"),
    ("C2", "half the slots", "plain"),
    ("C2", "few of many slots", "plain"),
    ("C2", "half of many slots", "plain"),
    ("C3 leaf", "leaf", "plain in turn"),
    ("C3 blockers", "blockers", "plain in turn"),
    ("C4", "group", "plain"),
    ("C4", "group beside a pool", "plain"),
]
ABSOLUTE = [("C5", "sharing"), ("C6", "plain")]


def measure(rounds: int, only: list[str]) -> list[Row]:
    """The rows whose names begin with one of these; all by default."""

    def is_wanted(row: str) -> bool:
        return not only or any(row.startswith(name) for name in only)

    ratios = [ratio for ratio in RATIOS if is_wanted(ratio[0])]
    absolute = [(row, name) for row, name in ABSOLUTE if is_wanted(row)]
    needed = {name for _, above, below in ratios for name in (above, below)} | {name for _, name in absolute}
    counted = _counted(rounds, [name for name in SETTINGS if name in needed]) if needed else {}
    rows = []
    for id, above, below in ratios:
        values = [a / b for a, b in zip(counted[above], counted[below], strict=True)]
        note = f"{_middle(counted[above]):,.0f} over {_middle(counted[below]):,.0f} instructions"
        rows.append(Row(id.split()[0], f"instructions per call over plain names: {SETTINGS[above].what}", values, id, note=note))
    rows += [Row(id, f"instructions: {SETTINGS[name].what}", counted[name]) for id, name in absolute]
    return rows


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _counted(rounds: int, names: list[str]) -> dict[str, list[float]]:
    """Of each setting, instructions per call in each round."""
    with CountedRedis() as redis:
        tenants = {}
        for name in names:
            setting, tenant = SETTINGS[name], Tenant(redis)
            if setting.definitions:
                tenant.must(tenant.register(setting.definitions))
            tenant.fill(HELD)
            tenant.fill(setting.held_slots, GPU)
            for n in range(WARM_PAIRS):
                item = Item.of("warm", f"warm-{n}")
                tenant.take(item)
                tenant.give(item)
            tenants[name] = tenant
        counted: dict[str, list[float]] = {name: [] for name in names}
        redis.counting(True)
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                SETTINGS[name].take_and_give(tenants[name], -1)  # the collector's debt of the setting before is paid
                redis.start()
                calls = SETTINGS[name].take_and_give(tenants[name], number)
                counted[name].append(redis.instructions() / calls)
                print(f"  round {number + 1}  {name:<20} {counted[name][-1]:9,.0f}", file=sys.stderr)
        return counted
