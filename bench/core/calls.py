"""A tenant that calls functions of the library, with arguments as `src/store/reservations/encode.rs` packs them."""

import itertools
import struct
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterable, Iterator

from .msgpack import pack, unpack
from .redis import Redis

TAG = "152"
STATE_NUMBERS = 14
PLAIN = ("meta", "held", "deadlines", "history", "due")
DEFINED = (*PLAIN, "definitions", "index", "slots")
WAITING = (*DEFINED, "lines", "tickets", "ticket_ends")
REGISTRY = (*WAITING, "links")
TTL_MS = 3_600_000
KEEP_ALIVE_MS = 600_000
FIRST_LOAD = 200
"""Items of a call that only fills."""


@dataclass(frozen=True)
class Item:
    """One thing that a requester takes and gives back."""

    requester: str
    name: str
    quantity: int = 1
    ttl_ms: int = TTL_MS
    token: bytes = b""

    @staticmethod
    def of(requester: str, name: str, quantity: int = 1, ttl_ms: int = TTL_MS) -> "Item":
        return Item(requester, name, quantity, ttl_ms, uuid.uuid4().bytes)


@dataclass(frozen=True)
class Definition:
    name: str
    capacity: int = 1
    blocks: tuple[str, ...] = ()
    ancestors: tuple[str, ...] = ()


class Answer:
    """The word of an answer, and what follows it."""

    def __init__(self, text: bytes) -> None:
        values = unpack(text)
        self.word, self.rest = values[1].decode(), values[4:]


class Tenant:
    numbers = itertools.count()

    def __init__(self, redis: Redis, history: int = 1_000) -> None:
        self.redis, self._history = redis, history
        self.name = f"a4b0312f-1ae4-4843-851d-{next(self.numbers):012}"
        self.credential: str | bytes = "k:" + "A" * 43
        self._version = time.time_ns() // 1000
        self._extent = PLAIN
        self.held_limit = 100_000_000
        state = struct.pack(f"<{STATE_NUMBERS}d", self._version, 0, 0, 0, self._version, *[0] * (STATE_NUMBERS - 5))
        redis.call("HSET", self.key("meta"), "state", state, "name", "bench", "tier", "Pro", "require", "0", self.credential, "id0")

    def key(self, kind: str) -> str:
        return f"hf:{{{TAG}}}:due" if kind == "due" else f"hf:{{{TAG}}}:{self.name}:{kind}"

    def state(self) -> tuple[float, ...]:
        """The numbers of `core/open.lua`."""
        return struct.unpack(f"<{STATE_NUMBERS}d", self.redis.call("HGET", self.key("meta"), "state"))

    def caller(self) -> bytes:
        """A finite tier, far above the load: every call is counted, every reservation compared with the limit."""
        limits = (self.held_limit, 100_000, 1_000_000)
        rest = (False, False, 0, 0, 0)
        channel = f"hf:{{{TAG}}}:events"
        head = (False, self._version, channel, "PUBLISH", self._history, 128 << 20, pack("R", self.name))
        return pack(*head, *limits, False, self.name, self.credential, "default", *rest)

    def kinds(self) -> list[str]:
        """The kinds of the keys that it has."""
        return [name.decode().rsplit(":", 1)[1] for name in self.redis.call("KEYS", self.key("*"))]

    def look_again(self) -> None:
        """As replicas do after a change that ends what they remember of the tenant."""
        self._version = int(self.state()[4])

    @contextmanager
    def as_credential(self, field: bytes | str) -> Iterator[None]:
        """Calls with another credential of the tenant's, a field of its meta."""
        before, self.credential = self.credential, field
        yield
        self.credential = before

    def registry(self, function: str, name: str) -> Answer:
        """A call about one definition."""
        answer = self.to_the_end(function, pack(name), REGISTRY)
        self.look_again()
        return answer

    def call(self, function: str, body: bytes, cost: int = 1, keys: tuple[str, ...] = ()) -> Answer:
        names = [self.key(kind) for kind in keys or self._extent]
        return self.raw(function, names, self.caller(), pack(cost, 0) + body)

    def raw(self, function: str, names: list[str], *arguments: object) -> Answer:
        """A call with keys and arguments as they are."""
        return Answer(self.redis.call("FCALL", f"hf_{self.redis.version}_{function}", len(names), *names, *arguments))

    def to_the_end(self, function: str, body: bytes, keys: tuple[str, ...] = ()) -> Answer:
        """Calls again while the answer is that there is more of the same."""
        while (answer := self.call(function, body, keys=keys)).word == "AGAIN":
            pass
        return answer

    def must(self, answer: Answer, word: str = "OK") -> Answer:
        if answer.word != word:
            raise RuntimeError(f"answered {answer.word} {answer.rest[:4]}, not {word}")
        return answer

    def register(self, definitions: Iterable[Definition]) -> Answer:
        packed = [pack(one.name, one.capacity, list(one.blocks), list(one.ancestors)) for one in definitions]
        answer = self.to_the_end("register", pack(0, len(packed)) + b"".join(packed), REGISTRY)
        if self._extent == PLAIN:
            self._extent = DEFINED
        self.look_again()  # the first definition ends what replicas remember of the tenant
        return answer

    def reserve(self, items: list[Item], wait_ms: int = 0) -> Answer:
        waits = [[at, wait_ms, 0, KEEP_ALIVE_MS, uuid.uuid4().hex] for at in range(1, len(items) + 1)] if wait_ms else False
        if waits:
            self._extent = WAITING
        return self.call("reserve", pack(len(items), quantities(items), waits) + taken(items), len(items))

    def unreserve(self, items: list[Item]) -> Answer:
        return self.call("unreserve", pack(len(items)) + given_back(items), len(items))

    def take(self, item: Item) -> None:
        """Reserves one thing, which must be free."""
        first = self.must(self.reserve([item])).rest[0]
        if type(first) is not int and first != b"A":  # a fence, or the mark of what does not stand alone
            raise RuntimeError(f"{item.name} was not acquired: {first!r}")

    def give(self, item: Item) -> None:
        """Gives one thing back, which must be held."""
        first = self.must(self.unreserve([item])).rest[0]
        if first is not True and first != b"R":
            raise RuntimeError(f"{item.name} was not relinquished: {first!r}")

    def renew(self, items: list[Item]) -> Answer:
        return self.call("renew", pack(len(items)) + given_back(items) + pack(*(item.ttl_ms for item in items)), len(items))

    def group(self, request: str, items: list[Item], method: str = "ALL_OR_NONE", wait_ms: int = 0) -> Answer:
        """One transaction."""
        if wait_ms:
            self._extent = WAITING
        wait = [wait_ms, 0, KEEP_ALIVE_MS, uuid.uuid4().hex, False] if wait_ms else False
        return self.call("transactions", _group(request, items, method, wait), len(items))

    def shared(self, request: str, items: list[Item]) -> Answer:
        """Calls of one item each that share a call of Redis: as the replica joins them, one of items of a credential."""
        is_take = request == "RESERVE"
        numbers = (0, len(items), 0) if is_take else (len(items), 0, 0)
        return self.must(self._shared(pack(len(items), 0, "I", *numbers, False, False) + (taken(items) if is_take else given_back(items))))

    def shared_group(self, request: str, items: list[Item], method: str = "ALL_OR_NONE") -> Answer:
        """One transaction, as the only one of those that share a call of Redis."""
        return self._shared(pack(len(items), 0, "G") + _group(request, items, method, False))

    def _shared(self, body: bytes) -> Answer:
        names = [self.key(kind) for kind in self._extent]
        answer = self.redis.call("FCALL", f"hf_{self.redis.version}_shared", len(names), *names, self.caller(), body)
        return Answer(unpack(answer)[0])

    def fill(self, count: int, name: str | None = None) -> None:
        """So many are held: plain names, or slots of a pool."""
        for first in range(0, count, FIRST_LOAD):
            numbers = range(first, min(first + FIRST_LOAD, count))
            self.must(self.reserve([Item.of(f"holder-{n}", name or f"held-{n}") for n in numbers]))


def quantities(items: list[Item]) -> object:
    return [number for at, item in enumerate(items, 1) if item.quantity > 1 for number in (at, item.quantity)] or False


def _group(request: str, items: list[Item], method: str, wait: object) -> bytes:
    is_take = request == "RESERVE"
    return pack(1, method, request, len(items), is_take and quantities(items), wait) + (taken(items) if is_take else given_back(items))


def _columns(items: list[Item], known: list[bytes]) -> bytes:
    alike = [n > 0 and known[n] == known[n - 1] for n in range(len(known))]
    return pack(*(item.name for item in items), *(item.token for item in items), *(b"" if same else text for same, text in zip(alike, known)))


def taken(items: list[Item]) -> bytes:
    """The columns of what is taken."""
    known = [pack(item.requester, "UserDefined", "default", False, False, 0) for item in items]
    return _columns(items, known) + pack(*(item.ttl_ms for item in items))


def given_back(items: list[Item]) -> bytes:
    """The columns of what is given back."""
    return _columns(items, [pack(item.requester) for item in items])
