"""The dearest calls of functions that are not about reservations, and of the reservations' rarer ones: more cases of C8."""

from .calls import WAITING, Definition, Item, Tenant
from .dearest import MOST_BLOCKS, MOST_DEPTH, MOST_ITEMS, SIZES, case, expire, in_parts, items_of, pages, reset, wait_in_line
from .monitor import (
    ACTIVE,
    COMPLETED,
    CONNECTION,
    CONNECTION_BYTES,
    QUEUED,
    ask,
    connect,
    details,
    event,
    hashed,
    in_pieces,
    job,
    key,
    kinds_of,
    now_us,
    observe,
    observe_all,
    plainly,
    publish,
    queue,
    scanned,
    worker,
)
from .msgpack import pack

MOST_EVENT = 15_900
"""Bytes of an event's data."""
PAGE_ENTRIES = 256
"""Entries of the history in one page."""
MOST_KEYS, MOST_SESSIONS = 2_000, 1_000
MOST_STREAMS = 10_000
OBSERVED_SIZES = (300, 250, 200, 150, 100, 62, 31, 15, 7)
"""Observations of a call: the service sends at most the first, and half as many where that is too much work."""
MOST_CONNECTIONS = 500
MOST_WORKERS, MOST_QUEUES, MANY_JOBS = 5_000, 5_000, 10_000
MOST_COUNTS = 2_000
"""Fields of what ended when that are asked for at once."""
MOST_TOUCHED = 500
UPKEEP_AT_ONCE = 200
HEADS_TENANTS, HEADS_CREDENTIALS = 500, 4
SCANNED_AT_ONCE = 1_000


def replay(tenant: Tenant, after: int) -> None:
    """Every page of the history behind a position."""
    ask_for = pack(1, 0, after, PAGE_ENTRIES)
    tenant.raw("replay", [key(tenant, kind) for kind in kinds_of("replay")], tenant.caller(), ask_for)


@case("events of a platform, and the pages of their history")
def _(tenant: Tenant) -> None:
    for number in range(3):
        ask(tenant, "company_put", f"company-{number}", "", f"id-{number}", "name", 0)
    for size in SIZES:
        publish(tenant, [event('{"a":1}', f"company-{n % 3}", f"{size}-{n}" + "d" * 200) for n in range(size)])
    for size in (66, 33, 32, 16, 8):
        publish(tenant, [event('"' + "z" * MOST_EVENT + '"') for _ in range(size)])
    for number in range(40):
        publish(tenant, [event('{"a":1}') for _ in range(250)])
    first = int(tenant.state()[0]) - 3_000_000
    for after in (0, first, int(tenant.state()[0]) - 1):
        replay(tenant, after)
    for number in range(30):
        publish(tenant, [event('"' + "z" * MOST_EVENT + '"') for _ in range(16)])
        replay(tenant, int(tenant.state()[0]) - 100)


@case("the history of many single events of reservations")
def _(tenant: Tenant) -> None:
    for number in range(600):
        item = Item.of("worker", f"job-{number}")
        tenant.take(item)
        tenant.give(item)
    replay(tenant, 0)
    replay(tenant, int(tenant.state()[0]) - 1)


@case("3,000 companies")
def _(tenant: Tenant) -> None:
    for number in range(3_000):
        ask(tenant, "company_put", f"company-{number}", "", f"id-{number}", "n" * 256, 0)
    cursor: tuple[object, ...] = ()
    while True:
        answer = ask(tenant, "company_read", "", *cursor)
        if answer.word != "MORE":
            break
        cursor = (answer.rest[0],)
    ask(tenant, "company_delete", "company-7")


@case("heads of 500 tenants with 2,000 credentials")
def _(tenant: Tenant) -> None:
    credentials = [f"k:{n:043}" for n in range(HEADS_CREDENTIALS)]
    arguments = [part for _ in range(HEADS_TENANTS) for part in (HEADS_CREDENTIALS, *credentials)]
    plainly(tenant, "heads", *arguments, kinds=["meta"] * HEADS_TENANTS)


@case("a tenant with 10,000 streams on 100 replicas")
def _(tenant: Tenant) -> None:
    for number in range(100):
        plainly(tenant, "replica_beat", f"replica-{number}", 3_600_000)
    for first, most in ((0, 1_900), (1_900, MOST_STREAMS)):
        for number in range(first, most):
            tenant.redis.call("HSET", tenant.key("streams"), f"replica-{number % 100}/{number}", "session" * (number % 2))
        ask(tenant, "stream_enter", "replica-1", most, "", 0, 10, 3_600_000)
        ask(tenant, "stream_enter", "replica-1", most + 1, "session", 100_000, 100_000, 3_600_000)
        ask(tenant, "usage")


@case("2,000 keys, of one of which are 1,000 sessions")
def _(tenant: Tenant) -> None:
    for number in range(MOST_KEYS):
        scopes = "read,write,admin" if number == 0 else "read,write"
        ask(tenant, "key_create", f"key-{number}", hashed(f"key-{number}"), "l" * 256, scopes, 0)
    for number in range(MOST_KEYS):
        plainly(tenant, "key_used", b"k:" + hashed(f"key-{number}"), f"key-{number}")
    with tenant.as_credential(b"k:" + hashed("key-1")):
        for number in range(MOST_SESSIONS):
            ask(tenant, "session_create", hashed(f"session-{number}"), 3_600_000, 7_200_000, MOST_SESSIONS)
    for _ in in_pieces(tenant, "key_list"):
        pass
    ask(tenant, "key_rotate", "key-2", hashed("key-2 anew"))
    tenant.look_again()
    ask(tenant, "key_delete", "key-0")
    ask(tenant, "key_delete", "key-1")
    tenant.look_again()
    plainly(tenant, "tenant_delete", tenant.name, "PUBLISH", "hf:{152}:events", kinds=[*kinds_of("tenant_delete"), "held", "history", "sessions", "used"])


@case("1,000 sessions that have ended, of a key that is changed")
def _(tenant: Tenant) -> None:
    with tenant.as_credential(tenant.credential):
        for number in range(MOST_SESSIONS):
            ask(tenant, "session_create", hashed(f"session-{number}"), 3_600_000, 7_200_000, MOST_SESSIONS)
        ask(tenant, "session_create", hashed("one more"), 3_600_000, 7_200_000, MOST_SESSIONS)
    ask(tenant, "key_create", "id0", hashed("again"), "label", "read,write,admin", 0)


@case("jobs, plain, as they go through their states")
def _(tenant: Tenant) -> None:
    connect(tenant)
    at = now_us() - 30_000_000
    for size in OBSERVED_SIZES:
        for step, state in enumerate((QUEUED, ACTIVE, COMPLETED)):
            observe(tenant, [job(f"{size}-{n}", at + step, state, f"queue-{n}", f"worker-{n}") for n in range(size)])


@case("jobs with long texts, 64 extensions, and many states each")
def _(tenant: Tenant) -> None:
    connect(tenant)
    at = now_us() - 30_000_000
    extensions = [part for n in range(64) for part in (f"name-{n:02}", "v" * 50)]
    for size in OBSERVED_SIZES:
        known = details("t" * 2_000, extensions)
        observe(tenant, [job(f"{size}-{n}", at, COMPLETED, "q" * 250, "w" * 250, "e" * 10_000, known) for n in range(size)])
        observe(tenant, [job(f"{size}-{n}", at + 5, ACTIVE, "q" * 250, "w" * 250, "f" * 10_000, known) for n in range(size)])
    for size in OBSERVED_SIZES:
        observe(tenant, [job("one", at + n, (QUEUED, ACTIVE)[n % 2], f"queue-{n}", f"worker-{n}") for n in range(size)])
    ask(tenant, "job_read", hashed("7-0")[:16])
    ask(tenant, "job_read", hashed("one")[:16])


@case("workers that name 100 queues each")
def _(tenant: Tenant) -> None:
    connect(tenant)
    at = now_us() - 30_000_000
    for length in (250, 90, 10):
        names = [f"{n:03}".ljust(length, "q") for n in range(100)]
        for size in OBSERVED_SIZES:
            observe(tenant, [worker(f"{length}-{size}-{n}", at, names) for n in range(size)])
            observe(tenant, [worker(f"{length}-{size}-{n}", at + 5, names) for n in range(size)])
    scanned(tenant, "worker_list", count=SCANNED_AT_ONCE)


@case("5,000 workers and queues, their lists, counts, upkeep and end")
def _(tenant: Tenant) -> None:
    connect(tenant)
    at = now_us() - 30_000_000
    for size in OBSERVED_SIZES:
        observe(tenant, [queue(f"{size}-{n}", at, n) for n in range(size)])
        observe(tenant, [queue(f"{size}-{n}", at + 5, n + 1) for n in range(size)])
        observe(tenant, [worker(f"{size}-{n}", at, ["queue"]) for n in range(size)])
    observe_all(tenant, [queue(f"queue-{n}", at, n) for n in range(MOST_QUEUES)], 400)
    observe_all(tenant, [worker(f"worker-{n}", at, ["queue"]) for n in range(MOST_WORKERS)], 400)
    observe_all(tenant, [job(f"{n}", at, COMPLETED, f"queue-{n % 400}", f"worker-{n % 400}") for n in range(1_200)], 200)
    scanned(tenant, "worker_list", count=SCANNED_AT_ONCE)
    scanned(tenant, "queue_list", count=SCANNED_AT_ONCE)
    fields = tenant.redis.call("HKEYS", tenant.key("counts"))
    while len(fields) < MOST_COUNTS:
        fields = fields + fields
    ask(tenant, "counts_read", *fields[:MOST_COUNTS])
    for member in tenant.redis.call("ZRANGE", tenant.key("beats"), 0, -1):
        tenant.redis.call("ZADD", tenant.key("beats"), 1, member)
    for _ in range(3):
        ask(tenant, "queue_upkeep", 1_000, UPKEEP_AT_ONCE)
    tenant.must(ask(tenant, "connection_delete", CONNECTION))
    tenant.look_again()
    scanned(tenant, "connection_forget", CONNECTION, CONNECTION_BYTES, count=SCANNED_AT_ONCE)


@case("10,000 jobs, their list, eviction and end")
def _(tenant: Tenant) -> None:
    connect(tenant)
    at = now_us() - 30_000_000
    known = details("t" * 500, [])
    observe_all(tenant, [job(f"{n}", at, COMPLETED, "queue", "worker", "e" * 300, known) for n in range(MANY_JOBS)], 200)
    answer = tenant.must(ask(tenant, "job_list", "", "", MOST_ITEMS), "MORE")
    ask(tenant, "job_list", answer.rest[-2], answer.rest[-3], MOST_ITEMS)
    for _ in range(3):
        ask(tenant, "queue_upkeep", 1_000, UPKEEP_AT_ONCE)
    observe(tenant, [job(f"new-{n}", at, COMPLETED) for n in range(100)], jobs=1_000)
    tenant.must(ask(tenant, "connection_delete", CONNECTION))
    tenant.look_again()
    scanned(tenant, "connection_forget", CONNECTION, CONNECTION_BYTES, count=SCANNED_AT_ONCE)


@case("500 connections")
def _(tenant: Tenant) -> None:
    names = [CONNECTION[:-3] + f"{n:03}" for n in range(MOST_CONNECTIONS)]
    for name in names:
        ask(tenant, "connection_create", name, hashed(name), "n" * 256, "bullmq", "s" * 500, "o" * 500, 0)
        plainly(tenant, "watch_take", name, "replica", 3_600_000)
    for _ in in_pieces(tenant, "connection_list"):
        pass
    plainly(tenant, "watch_look", *names)
    plainly(tenant, "watch_keep", names[0], 1, 6_000, "", 0, 0, "", "")


@case("calls that share one")
def _(tenant: Tenant) -> None:
    for size in (*SIZES, 32):
        batch = items_of(size, lambda n: f"job-{n}")
        tenant.shared("RESERVE", batch)
        tenant.shared("RESERVE", items_of(size, lambda n: f"job-{n}", "other-{}"))
        tenant.shared("UNRESERVE", batch)
        reset(tenant)
    for size in SIZES:
        for method in ("ALL_OR_NONE", "AS_MANY_AS_POSSIBLE"):
            tenant.shared_group("RESERVE", items_of(size, lambda n: f"job-{n}"), method)
            reset(tenant)


@case("tickets: touched, read and cancelled behind 1,000 others, and of 100 names")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", 500)])
    first = Item.of("worker", "gpu", 500)
    tenant.reserve([first])
    wait_in_line(tenant, 1_000, "gpu")
    names = [Item.of("holder", f"job-{n}") for n in range(100)]
    tenant.reserve(names)
    for size in (100, 60):
        tenant.group("RESERVE", [Item.of("waiting", item.name) for item in names[:size]], wait_ms=600_000)
    tickets = tenant.redis.call("HKEYS", tenant.key("tickets"))
    tickets = [ticket.decode() for ticket in tickets if len(ticket) == 32]
    tenant.call("ticket_touch", pack(tickets[:MOST_TOUCHED]), keys=WAITING)
    for ticket in (*tickets[:20], *tickets[-20:]):
        tenant.call("ticket_read", pack([ticket]), keys=WAITING)
    for ticket in (*tickets[:20], *tickets[-20:]):
        tenant.call("ticket_cancel", pack(ticket), keys=WAITING)
    pages(tenant, "waiting_list")


@case("definitions that are read and deleted, where 1,000 wait")
def _(tenant: Tenant) -> None:
    above = tuple(f"level-{n}" for n in range(MOST_DEPTH))
    its = tuple(f"rail-{n}" for n in range(MOST_BLOCKS))
    in_parts(tenant, [Definition("crane", blocks=its, ancestors=above), Definition("gpu", 100_000), Definition("printer")], MOST_ITEMS)
    tenant.reserve([Item.of("worker", "printer")])
    wait_in_line(tenant, 1_000, "printer")
    tenant.fill(2_000, "gpu")
    for name in ("crane", "gpu", "printer"):
        tenant.registry("resource_read", name)
        tenant.call("verify_fence", pack(name, 7))
        tenant.call("position_of", b"", keys=("meta",))
        tenant.registry("resource_delete", name)
    reset(tenant)
    for name in ("crane", "gpu", "printer"):
        tenant.registry("resource_delete", name)
    expire(tenant)


@case("a tenant that has something of everything, and its end")
def _(tenant: Tenant) -> None:
    tenant.register([Definition("gpu", 100_000)])
    tenant.fill(20_000, "gpu")
    tenant.fill(2_000)
    connect(tenant)
    observe_all(tenant, [job(f"{n}", now_us() - 30_000_000, COMPLETED, "queue", "worker") for n in range(2_000)], 200)
    others = [kind for kind in tenant.kinds() if kind != "meta"]
    ask(tenant, "stored_bytes", 0, kinds=["meta", *others])
    first = kinds_of("tenant_delete")
    reset(tenant)
    plainly(tenant, "tenant_delete", tenant.name, "PUBLISH", "hf:{152}:events", kinds=[*first, *(kind for kind in others if kind not in first)])
