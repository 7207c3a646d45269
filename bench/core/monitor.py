"""Calls of the functions that are not about reservations, with the arguments that the service sends: events, credentials, the queue monitor."""

import hashlib
import re
import time
from functools import cache
from typing import Iterable, Iterator

from .calls import TAG, Answer, Tenant
from .library import groups
from .msgpack import pack

PUBLISHED = ("meta", "history", "companies", "company_ids", "dedupe")
CONNECTION = "00000000-0000-4000-8000-0000000000c1"
CONNECTION_BYTES = bytes.fromhex(CONNECTION.replace("-", ""))
MOST_EXTENSIONS = 4_096
"""Bytes of what a job says beside the fields that are known."""
MOST_CALL_BYTES = 512 << 10
"""Of the observations of a call."""
COMPLETED, ACTIVE, QUEUED = 7, 3, 2
ONLINE = 0
TAKE_MS = 3_600_000
OF_PARTITION = ("due", "replicas")


@cache
def kinds_of(function: str) -> list[str]:
    """The kinds of a function's keys, as its header numbers them."""
    text = next(part.text for parts in groups().values() for part in parts if part.function == function)
    section = re.search(r"^-- keys\n((?:--   .*\n)+)", text, re.MULTILINE)
    return re.findall(r"^--   \d+ +(\w+)", section[1], re.MULTILINE) if section else []


def key(tenant: Tenant, kind: str) -> str:
    return f"hf:{{{TAG}}}:{kind}" if kind in OF_PARTITION else tenant.key(kind)


def ask(tenant: Tenant, function: str, *arguments: object, kinds: Iterable[str] = (), cost: int = 1) -> Answer:
    """A call of a caller; `kinds` are of the keys that the header does not number."""
    names = [key(tenant, kind) for kind in kinds or kinds_of(function)]
    head = (tenant.caller(), pack(cost, 0))
    return tenant.raw(function, names, *head, *arguments)


def plainly(tenant: Tenant, function: str, *arguments: object, kinds: Iterable[str] = ()) -> Answer:
    """A call of nobody's."""
    return tenant.raw(function, [key(tenant, kind) for kind in kinds or kinds_of(function)], *arguments)


def in_pieces(tenant: Tenant, function: str) -> Iterator[Answer]:
    """Every piece of a list that says MORE."""
    answer = ask(tenant, function)
    yield answer
    while answer.word == "MORE":
        answer = ask(tenant, function, answer.rest[0])
        yield answer


def scanned(tenant: Tenant, function: str, *arguments: object, count: int) -> None:
    """Every piece of what is gone through by a cursor."""
    cursor: object = b"0"
    while True:
        answer = tenant.must(ask(tenant, function, *arguments, cursor, count))
        cursor = answer.rest[0]
        if cursor == b"0":
            return


def hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def event(data: str, company: str = "", dedupe_id: str = "") -> tuple[object, ...]:
    return ("decision", "", company, data, 0, dedupe_id)


def publish(tenant: Tenant, events: list[tuple[object, ...]]) -> Answer:
    return tenant.raw("publish", [key(tenant, kind) for kind in PUBLISHED], tenant.caller(), pack(len(events), 0), *(part for one in events for part in one))


def now_us() -> int:
    return time.time_ns() // 1_000


def job(name: str, us: int, state: int, queue: object = False, worker: object = False, error: object = False, details: object = False) -> bytes:
    runtime = 7 if state == COMPLETED else False
    return pack(["J", hashed(name)[:16], name, us, 0, state, False, 0, "task of " + name, queue, worker, error, False, False, False, False, runtime, False, details])


def details(text: str, extensions: list[str]) -> list[object]:
    """Retries, progress, args, kwargs, result, stack trace, parent, root, names and values in turn."""
    return [3, False, text, text, text, text, "parent", "root", extensions]


def worker(name: str, us: int, queues: list[str]) -> bytes:
    return pack(["W", hashed(name)[:16], name, us, ONLINE, "host of " + name, 7, 1, 5, 8, queues, ["heartbeatFreq", "2"], False])


def queue(name: str, us: int, depth: int) -> bytes:
    return pack(["Q", False, name, us, depth, 3, 1])


def connect(tenant: Tenant) -> None:
    """A connection that the caller watches."""
    tenant.must(ask(tenant, "connection_create", CONNECTION, hashed("ingest key"), "name", "celery", "sealed", "{}", 0))
    tenant.must(plainly(tenant, "watch_take", CONNECTION, "replica", TAKE_MS))


def observe(tenant: Tenant, observations: list[bytes], jobs: int = 100_000) -> Answer:
    """As many of them as one call has."""
    size, most = 0, 0
    while most < len(observations) and (size := size + len(observations[most])) <= MOST_CALL_BYTES:
        most += 1
    observations = observations[:most]
    head = (CONNECTION, CONNECTION_BYTES, "0", "1", jobs, 0, MOST_EXTENSIONS, 0, "")
    return ask(tenant, "observe", *head, *observations, cost=len(observations))


def observe_all(tenant: Tenant, observations: list[bytes], size: int) -> None:
    """In calls of so many, or fewer where that is too much work, as the service does."""
    while observations:
        if observe(tenant, observations[:size]).word == "TOO_MUCH_WORK":
            size = max(1, size // 2)
        else:
            observations = observations[size:]
