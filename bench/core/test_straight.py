"""What goes the straight way does what the common way does: the same keys, answers and events. Calls that share one go the common way."""

import random
import re
import unittest

from .calls import Definition, Item, Tenant
from .redis import Redis

MOMENT = re.compile(rb"\x00\x06[\x00-\xff]{6}|\x00\x00\x01[\x80-\xff][\x00-\xff]{4}")
"""A position in us, or a time in ms, in eight bytes."""
CALLS = 3_000
LEVELS = ("site", "site/berlin")
DEFINITIONS = [
    Definition("gpu", 5),
    Definition("desk", 3, ancestors=("hall",)),
    Definition("press", ancestors=LEVELS),
    Definition("saw", blocks=("rail-c",), ancestors=LEVELS),
    Definition("crane", blocks=("rail-a", "rail-b")),
    Definition("lift", blocks=("rail-b", "gpu")),
    Definition("door"),
]
NAMES = ["gpu", "gpu", "gpu", "gpu_0", "gpu_4", "gpu_7", "desk", "desk_1", "hall", "press", "saw", "crane", "lift", "rail-a", "rail-b", "rail-c", "door", *LEVELS, "plain", "a>press"]


def bare(value: object, tenant: Tenant) -> object:
    """Without moments, and without the tenant."""
    if isinstance(value, list):
        return [bare(one, tenant) for one in value]
    if isinstance(value, bytes):
        return MOMENT.sub(b"<moment>", value.replace(tenant.name.encode(), b"<tenant>"))
    return "<moment>" if type(value) is int and value > 10**12 else value


class StraightWay(unittest.TestCase):
    def setUp(self) -> None:
        self.redis = Redis()
        self.addCleanup(self.redis.__exit__)
        self.straight, self.common = Tenant(self.redis), Tenant(self.redis)
        for tenant in (self.straight, self.common):
            tenant.must(tenant.register(DEFINITIONS))

    def keys_of(self, tenant: Tenant) -> dict[str, object]:
        ask = self.redis.call
        pairs = ask("HGETALL", tenant.key("held"))
        held = {name: text for name, text in zip(pairs[::2], pairs[1::2])}
        for name, text in held.items():
            if name.endswith(b"\0"):
                held[name] = text[:8]  # of a pool's counts how many are held; where its lowest free slot is looked for may differ
        return {
            "held": {bare(name, tenant): bare(text, tenant) for name, text in held.items()},
            "deadlines": sorted(ask("ZRANGE", tenant.key("deadlines"), 0, -1)),
            "index": sorted(bare(ask("ZRANGE", tenant.key("index"), 0, -1), tenant)),
            "slots": ask("GET", tenant.key("slots")),
            "event": bare(ask("LINDEX", tenant.key("history"), -1), tenant),
            "state": tenant.state()[5],
        }

    def test_random_calls_end_alike(self) -> None:
        chance, taken = random.Random(17), []
        for number in range(CALLS):
            if taken and chance.random() < 0.45:
                item = chance.choice(taken)
                answers = [self.straight.unreserve([item]).rest, self.common.shared("UNRESERVE", [item]).rest]
            else:
                item = Item.of(chance.choice(["ada", "bob", "cy"]), chance.choice(NAMES), ttl_ms=chance.choice([0, 3_600_000]))
                taken = [*taken[-40:], item]
                answers = [self.straight.reserve([item]).rest, self.common.shared("RESERVE", [item]).rest]
            said = f"call {number} of {item.name} by {item.requester}"
            if answers[0][0] is not True and answers[1][0] != b"INVALID_RELEASE_TOKEN":
                self.assertEqual(bare(answers[0], self.straight), bare(answers[1], self.common), said)
            self.assertEqual(self.keys_of(self.straight), self.keys_of(self.common), said)

    def test_random_groups_end_alike(self) -> None:
        chance, taken, applied = random.Random(18), [], 0
        names = ["gpu", "gpu_1", "door", "a>press", "two_words", *(f"plain-{n}" for n in range(8))]
        for number in range(CALLS):
            if taken and chance.random() < 0.5:
                request, items = "UNRESERVE", chance.choice(taken)
                if chance.random() < 0.2:
                    items = [*items, chance.choice(chance.choice(taken))]
            else:
                who = [chance.choice(["ada", "bob"])] * 3 if chance.random() < 0.7 else ["ada", "bob", "ada"]
                ttl_ms = chance.choice([0, 3_600_000])
                chosen = chance.sample(names, chance.randint(1, 3)) if chance.random() < 0.9 else ["plain-1", "plain-1"]
                request, items = "RESERVE", [Item.of(requester, name, ttl_ms=ttl_ms) for requester, name in zip(who, chosen)]
                if chance.random() < 0.1:
                    items[0] = Item.of("ada", chosen[0], ttl_ms=1_800_000)
                taken = [*taken[-10:], items]
            one, other = self.straight.group(request, items), self.common.shared_group(request, items)
            answers = [[one.word, *one.rest], [other.word, *other.rest]]
            said = f"call {number}: {request} of {[item.name for item in items]} by {[item.requester for item in items]}"
            applied += answers[0][1] == b"APPLIED" and len(items) > 1
            self.assertEqual(bare(answers[0], self.straight), bare(answers[1], self.common), said)
            self.assertEqual(self.keys_of(self.straight), self.keys_of(self.common), said)
        self.assertGreater(applied, CALLS / 20)

    def test_a_blocker_that_is_held_by_its_own_name_stays(self) -> None:
        crane, rail = Item.of("ada", "crane"), Item.of("ada", "rail-a")
        for item in (crane, rail):
            self.straight.reserve([item])
            self.common.shared("RESERVE", [item])
        self.straight.give(crane)
        self.common.shared("UNRESERVE", [crane])
        self.assertIn(b"rail-a", self.keys_of(self.straight)["held"])
        self.assertEqual(self.keys_of(self.straight), self.keys_of(self.common))
