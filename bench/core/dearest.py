"""C8: the dearest calls that limits allow. Each case makes calls as large as the API takes them; what is too much work is refused, and counts, too.

Time is what Redis' thread was on a core for, by the kernel's scheduler, from the request to its answer: programs beside it do not change it.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

from speed.rounds import Row

from .calls import Definition, Item, Tenant
from .msgpack import pack
from .redis import Redis

MOST_ITEMS = 1_000
MOST_DEPTH = 31
MOST_BLOCKS = 64
MOST_SLOTS = 100_000
SIZES = (1_000, 700, 500, 400, 300, 200, 100)
"""Of batches: the dearest call is the largest that is not refused."""
LONG_SIZES = (500, 400, 300, 200, 100)
"""The same where items are so long that a body of 1 MiB holds 500."""
SHORT_MS, SHORT_S = 1_000, 1.2
"""A time to live after which everything has lapsed, and how long to wait for that."""
CASES: dict[str, Callable[[Tenant], None]] = {}


class TimedRedis(Redis):
    """Remembers the calls of functions, and the dearest one."""

    def __init__(self) -> None:
        super().__init__()
        self._schedule = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat")
        self.dearest: tuple[float, str] = (0, "")
        self.calls: list[tuple[float, str]] = []
        ask = self.call

        def timed(*words: object) -> object:
            before = self._spent_ms()
            answer = ask(*words)
            if words[0] == "FCALL":
                self.calls.append((self._spent_ms() - before, str(words[1]).split("_", 2)[2]))
                self.dearest = max(self.dearest, self.calls[-1])
            return answer

        self.call = timed

    def _spent_ms(self) -> float:
        return int(self._schedule.read_text().split()[0]) / 1e6


def case(what: str) -> Callable:
    def note(run: Callable[[Tenant], None]) -> Callable[[Tenant], None]:
        CASES[what] = run
        return run

    return note


def items_of(count: int, name: Callable[[int], str], requester: str = "worker-{}", **more: int) -> list[Item]:
    return [Item.of(requester.format(n), name(n), **more) for n in range(count)]


def pages(tenant: Tenant, function: str, *arguments: object) -> None:
    """Every page of a list."""
    cursor, after = "0", ""
    while True:
        answer = tenant.call(function, pack(cursor, after, MOST_ITEMS))
        if answer.word == "AGAIN":  # a piece of what was due before
            continue
        tenant.must(answer)
        cursor, after = answer.rest[0], answer.rest[1]
        if cursor == b"0" and after == b"":
            return


def reset(tenant: Tenant) -> None:
    tenant.must(tenant.to_the_end("reset", b""))


def force_release(tenant: Tenant, name: str) -> None:
    from_slot, fence, more = 0, 0, True
    while more:
        answer = tenant.call("force_release", pack(name, "because", from_slot, fence))
        more = answer.word in ("MORE", "AGAIN")
        if answer.word == "MORE":
            from_slot, fence = answer.rest[:2]


def expire(tenant: Tenant) -> None:
    time.sleep(SHORT_S)
    tenant.to_the_end("expire", b"")


def in_parts(tenant: Tenant, definitions: list[Definition], size: int) -> None:
    """Registers that many at once, or fewer where that is too much work."""
    while definitions:
        if tenant.register(definitions[:size]).word == "TOO_MUCH_WORK":
            size = max(1, size // 2)
        else:
            definitions = definitions[size:]


@case("batches of plain names")
def _(tenant: Tenant) -> None:
    for size in SIZES:
        batch = items_of(size, lambda n: f"job-{n}")
        tenant.reserve(batch)
        tenant.renew(batch)
        tenant.unreserve(batch)
        reset(tenant)


@case("batches with names and requesters of 1,000 bytes, and their list")
def _(tenant: Tenant) -> None:
    for size in LONG_SIZES:
        batch = items_of(size, lambda n: f"{n:04}" + "n" * 996, "{:04}" + "r" * 996)
        tenant.reserve(batch)
        pages(tenant, "list")
        tenant.unreserve(batch)
        reset(tenant)


@case("batches that are refused: others' names, wrong tokens")
def _(tenant: Tenant) -> None:
    for size in SIZES:
        batch = items_of(size, lambda n: f"job-{n}")
        tenant.reserve(batch)
        tenant.reserve(items_of(size, lambda n: f"job-{n}", "other-{}"))
        for items in (items_of(size, lambda n: f"job-{n}"), items_of(size, lambda n: f"job-{n}", "other-{}")):
            tenant.unreserve(items)
            tenant.renew(items)
        reset(tenant)


@case("the same with names and requesters of 1,000 bytes")
def _(tenant: Tenant) -> None:
    held = items_of(max(LONG_SIZES), lambda n: f"{n:04}" + "n" * 996, "{:04}" + "r" * 996)
    for first in range(0, len(held), 100):
        tenant.must(tenant.reserve(held[first : first + 100]))
    for size in LONG_SIZES:
        for requester in ("r", "s"):
            items = items_of(size, lambda n: f"{n:04}" + "n" * 996, "{:04}" + requester * 996)
            tenant.reserve(items)
            tenant.unreserve(items)
            tenant.renew(items)


@case("transactions")
def _(tenant: Tenant) -> None:
    for size in SIZES:
        for method in ("ALL_OR_NONE", "AS_MANY_AS_POSSIBLE", "FIRST"):
            batch = items_of(size, lambda n: f"job-{n}")
            tenant.group("RESERVE", batch, method)
            tenant.group("RESERVE", items_of(size, lambda n: f"job-{n}", "other-{}"), method)
            tenant.group("UNRESERVE", batch, method)
            reset(tenant)


@case("slots one by one in a batch")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", MOST_SLOTS)])
    for size in SIZES:
        batch = items_of(size, lambda _: "gpu")
        tenant.reserve(batch)
        tenant.call("check", pack(["gpu", *(f"gpu_{n}" for n in range(MOST_ITEMS - 1))]))
        tenant.unreserve(batch)
        reset(tenant)


@case("1,000 slots as one reservation")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", MOST_SLOTS)])
    one = Item.of("worker", "gpu", MOST_ITEMS)
    tenant.reserve([one])
    tenant.renew([replace(one, ttl_ms=one.ttl_ms * 2)])
    tenant.unreserve([one])
    for size in (2, 3, 4, 10):
        tenant.reserve(items_of(size, lambda _: "gpu", quantity=MOST_ITEMS))
        reset(tenant)
    tenant.reserve([Item.of("worker", "gpu", MOST_ITEMS, SHORT_MS)])
    expire(tenant)


@case("forced release of 100,000 slots")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", MOST_SLOTS)])
    tenant.fill(MOST_SLOTS, "gpu")
    tenant.reserve(items_of(MOST_ITEMS, lambda _: "gpu", "late-{}"))
    force_release(tenant, "gpu")


@case("forced release of a blocker with 2,000 users, and the list")
def _(tenant: Tenant) -> None:
    definitions = [Definition(f"crane-{n}", blocks=("rail",)) for n in range(2_000)]
    in_parts(tenant, definitions, 200)
    for first in range(0, 2_000, 200):
        tenant.reserve([Item.of("worker", f"crane-{n}") for n in range(first, first + 200)])
    pages(tenant, "list")
    force_release(tenant, "rail")


@case("a name of 64 blockers below 31 levels")
def _(tenant: Tenant) -> None:
    above = tuple(f"level-{n}" for n in range(MOST_DEPTH))
    blockers = [f"rail-{n}" for n in range(MOST_BLOCKS)]
    in_parts(tenant, [Definition(name, ancestors=above) for name in blockers], MOST_ITEMS)
    in_parts(tenant, [Definition(f"crane-{n}", blocks=tuple(blockers), ancestors=above) for n in range(200)], MOST_ITEMS)
    tenant.call("check", pack([f"crane-{n % 200}" for n in range(MOST_ITEMS)]))
    for size in (1, 10, 30, 60, 100):
        batch = [Item.of("worker", f"crane-{n}", ttl_ms=SHORT_MS) for n in range(size)]
        tenant.reserve(batch)
        tenant.reserve([replace(item, requester="other") for item in batch])
        tenant.unreserve(batch)
        reset(tenant)
    for n in range(30):
        tenant.reserve([Item.of("worker", f"crane-{n}", ttl_ms=SHORT_MS)])
    pages(tenant, "list")
    expire(tenant)


@case("names each of 64 blockers of its own below 31 levels")
def _(tenant: Tenant) -> None:
    above = tuple(f"level-{n}" for n in range(MOST_DEPTH))
    for n in range(20):
        its = [f"rail-{n}-{at}" for at in range(MOST_BLOCKS)]
        in_parts(tenant, [*(Definition(name, ancestors=above) for name in its), Definition(f"crane-{n}", blocks=tuple(its), ancestors=above)], MOST_ITEMS)
    for size in (1, 2, 3, 4, 20):
        tenant.reserve([Item.of("worker", f"crane-{n}") for n in range(size)])
        reset(tenant)
    for n in range(20):
        tenant.reserve([Item.of("worker", f"crane-{n}", ttl_ms=SHORT_MS)])
    expire(tenant)
    for n in range(20):
        tenant.reserve([Item.of("worker", f"crane-{n}")])
    force_release(tenant, "crane-0")


@case("leaves below 31 pools")
def _(tenant: Tenant) -> None:
    above = tuple(f"level-{n}" for n in range(MOST_DEPTH))
    in_parts(tenant, [Definition(name, 2, ancestors=above[:n]) for n, name in enumerate(above)], MOST_ITEMS)
    in_parts(tenant, [Definition(f"leaf-{n}", ancestors=above) for n in range(MOST_ITEMS)], MOST_ITEMS)
    for size in SIZES:
        tenant.reserve([Item.of("worker", f"leaf-{n}") for n in range(size)])
        tenant.reserve([Item.of("other", f"leaf-{n}") for n in range(size)])
        tenant.call("check", pack([f"leaf-{n}" for n in range(size)]))
        reset(tenant)


@case("expiry of 4,000 plain names")
def _(tenant: Tenant) -> None:
    for first in range(0, 4_000, 400):
        tenant.reserve([Item.of("worker", f"job-{n}", ttl_ms=SHORT_MS) for n in range(first, first + 400)])
    expire(tenant)


@case("expiry of names of 1,000 bytes")
def _(tenant: Tenant) -> None:
    for first in range(0, 1_000, 100):
        tenant.reserve([Item.of("r" * 1_000, f"{n:04}" + "n" * 996, ttl_ms=SHORT_MS) for n in range(first, first + 100)])
    expire(tenant)


@case("registering and moving")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("site"), Definition("east"), Definition("west")])
    in_parts(tenant, [Definition(f"child-{n}", ancestors=("site",)) for n in range(990)], MOST_ITEMS)
    for moves in (1, 2, 4, 60, 1_000):
        tenant.register([Definition("site", ancestors=(("east", "west")[n % 2],)) for n in range(moves)])
    for size in SIZES:
        tenant.register([Definition(f"new-{size}-{n}", ancestors=("east",)) for n in range(size)])
        tenant.register([Definition(f"deep-{size}-{n}", ancestors=tuple(f"level-{at}" for at in range(MOST_DEPTH))) for n in range(size)])
    for size in (1_000, 300, 100):
        tenant.register([Definition(f"pool-{size}-{n}", MOST_SLOTS) for n in range(size)])
    pages(tenant, "resource_list")


@case("pools that 20,000 held names become slots of")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("other")])
    for first in range(0, 20_000, 400):
        tenant.reserve([Item.of("worker", f"plain_{n}") for n in range(first, first + 400)])
    tenant.register([Definition(f"pool-{n}", MOST_SLOTS) for n in range(20)])
    tenant.register([Definition("plain", 30_000)])
    tenant.call("check", pack(["plain"]))


def wait_in_line(tenant: Tenant, count: int, name: str) -> None:
    for n in range(count):
        tenant.reserve([Item.of(f"waiting-{n}", name)], wait_ms=600_000)


@case("hand-over of a name with 1,000 waiting")
def _(tenant: Tenant) -> None:
    first = Item.of("worker", "printer")
    tenant.reserve([first])
    wait_in_line(tenant, 1_000, "printer")
    pages(tenant, "waiting_list")
    tenant.unreserve([first])
    force_release(tenant, "printer")
    reset(tenant)


@case("hand-over of 500 slots with 1,000 waiting")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", 500)])
    first = Item.of("worker", "gpu", 500)
    tenant.reserve([first])
    wait_in_line(tenant, 1_000, "gpu")
    tenant.unreserve([first])
    tenant.to_the_end("expire", b"")
    force_release(tenant, "gpu")


@case("hand-over of a batch of 500 names, each waited for, and its end")
def _(tenant: Tenant) -> None:
    batch = items_of(500, lambda n: f"job-{n}")
    tenant.reserve(batch)
    for item in batch:
        tenant.reserve([Item.of("waiting", item.name, ttl_ms=SHORT_MS)], wait_ms=600_000)
    tenant.unreserve(batch)
    tenant.to_the_end("expire", b"")
    expire(tenant)


@case("1,000 items that wait, in one call, and 1,000 tickets that end")
def _(tenant: Tenant) -> None:
    tenant.fill(MOST_ITEMS)
    for size in SIZES:
        tenant.reserve([Item.of("waiting", f"held-{n}") for n in range(size)], wait_ms=SHORT_MS)
        expire(tenant)


@case("many items that wait for one name, in one call")
def _(tenant: Tenant) -> None:
    for size in SIZES:
        tenant.take(Item.of("holder", "printer"))
        tenant.reserve(items_of(size, lambda _: "printer", "waiting-{}"), wait_ms=600_000)
        reset(tenant)


@case("a transaction of many items that wait")
def _(tenant: Tenant) -> None:
    tenant.fill(MOST_ITEMS)
    for size in SIZES:
        tenant.group("RESERVE", [Item.of("waiting", f"held-{n}") for n in range(size)], wait_ms=600_000)
        tenant.group("RESERVE", [Item.of("another", f"held-{n}") for n in range(size)], wait_ms=600_000)
        pages(tenant, "waiting_list")
        reset(tenant)
        tenant.fill(MOST_ITEMS)


def measure(rounds: int) -> list[Row]:
    rows, worst = [], []
    with TimedRedis() as redis:
        dearest: dict[str, list[tuple[float, str]]] = {what: [] for what in CASES}
        for number in range(rounds):
            for what, run in CASES.items():
                redis.call("FLUSHALL")
                redis.dearest = (0, "")
                run(Tenant(redis, history=100_000))
                dearest[what].append(redis.dearest)
                print(f"  round {number + 1}  {redis.dearest[0]:7.1f} ms  {redis.dearest[1]:<16} {what}", file=sys.stderr)
    for what, calls in dearest.items():
        values = [ms for ms, _ in calls]
        rows.append(Row("C8", what, values, unit=" ms", note=", ".join(sorted({function for _, function in calls}))))
    worst = max(rows, key=lambda row: row.median)
    return [Row("C8", f"the dearest call that limits allow: {worst.what}", worst.values, "C8", " ms", worst.note), *rows]
