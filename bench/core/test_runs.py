"""Items that are done in one loop end as items that are done one by one: the same answers, keys and events, byte for byte, at the same clock."""

import random
import unittest
from typing import Sequence
from unittest import mock

from .calls import Definition, Item, Tenant, given_back, quantities, taken
from .library import library
from .msgpack import pack
from .redis import Redis

CALLS = 500
ITEMS_MOST = 75
"""Items of a call: more than two groups of events hold, and than three looks at the budget."""
CLOCK = ("call('TIME')", "{ '1796000000', call('INCRBY', 'clock', 7) }")
"""Each call comes 7 us after the one before it."""
BEFORE_NS = 1_795_999_999 * 10**9
ONE_BY_ONE = (
    ("local may_run, n = not quantities and not waits, first", "local may_run, n = false, first"),
    ("local left, record = n, has_mines and records[of[n + 1]]", "local left, record = n, false"),
    ("elseif view[of[n + 1]] then", "elseif false then"),
)
NAMES = [*(f"name-{n}" for n in range(90)), "gpu", *(f"gpu_{n}" for n in range(6)), "two_words", "x" * 140, "a>press", "door"]
DEFINITIONS = [Definition("gpu", 7), Definition("desk", 300), Definition("door"), Definition("press", ancestors=("a",))]
WORKERS = ["ada", "bob", "worker-" + "n" * 160]
MANY_WORKERS = [f"worker-{n}" for n in range(90)]


class AlteredRedis(Redis):
    """With a library some of whose text is another."""

    def __init__(self, *changes: tuple[str, str]) -> None:
        super().__init__()
        text = library()[1]
        for before, after in changes:
            if before not in text:
                raise RuntimeError(f"the library no longer says {before!r}")
            text = text.replace(before, after)
        self.call("FUNCTION", "FLUSH")
        self.call("FUNCTION", "LOAD", text)


class Runs(unittest.TestCase):
    def setUp(self) -> None:
        self.servers = [AlteredRedis(CLOCK), AlteredRedis(CLOCK, *ONE_BY_ONE)]
        for server in self.servers:
            self.addCleanup(server.__exit__)

    def state_of(self, tenant: Tenant) -> list[object]:
        ask = tenant.redis.call
        held = ask("HGETALL", tenant.key("held"))
        state = tenant.state()
        return [
            sorted(zip(held[::2], held[1::2])),
            ask("ZRANGE", tenant.key("deadlines"), 0, -1, "WITHSCORES"),
            ask("ZRANGE", tenant.key("index"), 0, -1),
            ask("LRANGE", tenant.key("history"), -6, -1),
            state,
        ]

    def random_calls(self, seed: int, definitions: list[Definition]) -> int:
        """Answers how many items were taken or given back."""
        number = next(Tenant.numbers)
        tenants = []
        for server in self.servers:
            Tenant.numbers = iter([number])
            with mock.patch("time.time_ns", return_value=BEFORE_NS):
                tenants.append(Tenant(server))
            if definitions:
                tenants[-1].must(tenants[-1].register(definitions))
        Tenant.numbers = iter(range(number + 1, 1_000_000))
        chance, done, known = random.Random(seed), 0, []
        for at in range(CALLS):
            limit = chance.choice([100_000_000, int(tenants[0].state()[5]) + chance.randint(1, 40)])
            count = chance.choice([1, 2, 3, chance.randint(4, ITEMS_MOST)])
            request = chance.choice(["RESERVE", "RESERVE", "UNRESERVE", "RENEW"]) if known else "RESERVE"
            if request == "RESERVE":
                workers = chance.choices(WORKERS, k=count) if chance.random() < 0.3 else [chance.choice(WORKERS)] * count
                if is_of_pool := bool(definitions) and chance.random() < 0.4:
                    workers = chance.choices(MANY_WORKERS, k=count)
                ttls = chance.choices([0, 60_000], k=count) if chance.random() < 0.2 else [chance.choice([0, 60_000])] * count
                names = chance.choices(NAMES, k=count) if chance.random() < 0.3 else chance.sample(NAMES, count)
                if is_of_pool:
                    names = chance.choices(["desk", "desk", "desk", "gpu", "name-1"], k=count) if chance.random() < 0.3 else ["desk"] * count
                items = [Item.of(worker, name, ttl_ms=ttl) for worker, name, ttl in zip(workers, names, ttls)]
                if chance.random() < 0.2:
                    items[0] = Item.of(items[0].requester, "desk" if is_of_pool else "gpu", quantity=2)
                known = [*known[-300:], *items]
            else:
                items = known[-count:] if chance.random() < 0.5 else chance.sample(known, min(count, len(known)))
                if chance.random() < 0.2:
                    items = [*items, Item.of("bob", chance.choice(NAMES))]
            kind = chance.choice(["alone", "I", "T"])
            before = chance.sample(known, min(len(known), chance.randint(1, 20))) if request == "RESERVE" and kind == "I" and chance.random() < 0.5 else []
            answers = []
            for tenant in tenants:
                tenant.held_limit = limit
                answers.append(self.ask(tenant, request, items, kind, before))
            said = f"seed {seed}, call {at}: {request} {kind} of {len(items)} behind {len(before)}"
            self.assertEqual(answers[0], answers[1], said)
            self.assertEqual(self.state_of(tenants[0]), self.state_of(tenants[1]), said)
            done += len(items) * (answers[0][0] == "OK")
        return done

    @staticmethod
    def ask(tenant: Tenant, request: str, items: list[Item], kind: str, before: Sequence[Item] = ()) -> list[object]:
        """One call: by itself, its items each by themselves among calls that share one (I), or as one call among them (T); `before`: what is given back
        first."""
        ttls = pack(*(item.ttl_ms for item in items))
        columns = taken(items) if request == "RESERVE" else given_back(items) + (ttls if request == "RENEW" else b"")
        if before:
            known = [pack(item.requester) for item in before] + [pack(item.requester, "UserDefined", "default", False, False, 0) for item in items]
            both = [*before, *items]
            columns = pack(*(item.name for item in both), *(item.token for item in both), *known) + ttls
            answer = tenant._shared(pack(len(both), 0, kind, len(before), len(items), 0, quantities([*before, *items]), False) + columns)
        elif kind == "alone":
            answer = {"RESERVE": tenant.reserve, "UNRESERVE": tenant.unreserve, "RENEW": tenant.renew}[request](items)
        else:
            numbers = [len(items) if request == one else 0 for one in ("UNRESERVE", "RESERVE", "RENEW")]
            many = request == "RESERVE" and quantities(items)
            waits = (False,) if kind == "I" else ()
            answer = tenant._shared(pack(len(items), 0, kind, *numbers, many, *waits) + columns)
        return [answer.word, *answer.rest]

    def test_of_names_that_stand_alone(self) -> None:
        self.assertGreater(self.random_calls(1, []), 20 * CALLS / 3)

    def test_beside_what_is_registered(self) -> None:
        self.assertGreater(self.random_calls(2, DEFINITIONS), 20 * CALLS / 3)

    def test_a_run_ends_where_no_more_may_be_held(self) -> None:
        tenant = Tenant(self.servers[0])
        tenant.held_limit = 5
        answer = self.ask(tenant, "RESERVE", [Item.of("ada", f"name-{n}") for n in range(20)], "I")
        self.assertEqual(answer.count(b"LIMIT"), 15)
        self.assertEqual(tenant.state()[5], 5)

    def test_what_one_tenant_has_registered_is_nothing_to_another(self) -> None:
        with_pool, without = Tenant(self.servers[0]), Tenant(self.servers[0])
        with_pool.must(with_pool.register([Definition("gpu", 7)]))
        items = [Item.of(f"worker-{n}", "gpu") for n in range(4)]
        for _ in range(2):
            with_pool.must(with_pool.reserve(items))
            self.assertEqual(without.must(without.reserve(items)).rest.count(b"ALREADY_HELD"), 3)
            self.assertEqual(without.must(without.unreserve(items)).rest.count(True), 1)
            self.assertEqual(with_pool.must(with_pool.unreserve(items)).rest.count(b"R"), 4)

    def test_half_a_token_proves_nothing(self) -> None:
        """The bytes of a reservation without an end, read as if it had one: its token would be half of the real one and what follows that."""
        tenant = Tenant(self.servers[0])
        own, other = Item.of("ada", "own"), Item.of("xxxxxx\u00e3ada", "other", ttl_ms=0)
        tenant.must(tenant.reserve([own]))
        tenant.must(tenant.reserve([other]))
        forged = Item("ada", "other", token=other.token[8:] + b"\xabxxxxxx\xc3")
        answer = tenant.must(tenant.unreserve([own, forged])).rest
        self.assertEqual(answer[:2], [True, b"DOESNT_OWN_RESERVATION"])
