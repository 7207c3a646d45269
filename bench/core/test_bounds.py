"""What a call may take of Redis is bounded where tickets are many, and a full tenant's line goes on."""

import re
import unittest

from .calls import Definition, Item, Tenant
from .redis import Redis

MANY = 1_000


class Bounds(unittest.TestCase):
    def setUp(self) -> None:
        self.redis = Redis()
        self.addCleanup(self.redis.__exit__)
        self.tenant = Tenant(self.redis)

    def gets(self) -> int:
        """How often a field was read by itself since this was asked last."""
        found = re.search(r"cmdstat_hget:calls=(\d+)", self.redis.call("INFO", "commandstats").decode())
        self.redis.call("CONFIG", "RESETSTAT")
        return int(found[1]) if found else 0

    def test_items_that_wait_are_refused_where_they_are_too_many(self) -> None:
        self.tenant.fill(MANY)
        answer = self.tenant.reserve([Item.of("waiting", f"held-{n}") for n in range(300)], wait_ms=60_000)
        self.assertEqual(answer.word, "TOO_MUCH_WORK")
        self.assertEqual(self.redis.call("HLEN", self.tenant.key("tickets")), 0)

    def test_a_hundred_that_wait_for_one_name_stand_in_the_order_of_their_items(self) -> None:
        self.tenant.take(Item.of("holder", "printer"))
        waiting = [Item.of(f"waiting-{n}", "printer") for n in range(100)]
        answer = self.tenant.must(self.tenant.reserve(waiting, wait_ms=60_000))
        places = [answer.rest[at + 2] for at, value in enumerate(answer.rest) if value == b"W"]
        self.assertEqual(places, list(range(1, 101)))

    def test_a_thousand_items_pass_whatever_becomes_of_them(self) -> None:
        self.tenant.must(self.tenant.register([Definition("gpu", 2 * MANY)]))
        slots = [Item.of(f"worker-{n}", "gpu") for n in range(MANY)]
        names = [Item.of(f"worker-{n}", f"job-{n}") for n in range(MANY)]
        for items in (slots, names):
            self.tenant.must(self.tenant.reserve(items))
            self.tenant.must(self.tenant.reserve([Item.of(item.requester + "-too", item.name) for item in items]))
            self.tenant.must(self.tenant.unreserve([Item.of(item.requester, item.name) for item in items]), "BAD_TOKEN")
            self.tenant.must(self.tenant.renew(items))
            self.tenant.must(self.tenant.unreserve(items))
        self.tenant.must(self.tenant.reserve([Item.of("one", "gpu", MANY)]))

    def test_slots_of_which_one_item_asks_for_many_are_counted_one_by_one(self) -> None:
        self.tenant.must(self.tenant.register([Definition("gpu", 4 * MANY)]))
        self.assertEqual(self.tenant.reserve([Item.of(f"worker-{n}", "gpu", MANY) for n in range(3)]).word, "TOO_MUCH_WORK")
        self.assertEqual(self.redis.call("HLEN", self.tenant.key("held")), 0)
        self.tenant.must(self.tenant.reserve([Item.of(f"worker-{n}", "gpu", MANY) for n in range(2)]))

    def test_an_estimate_reads_the_tickets_ahead_once(self) -> None:
        self.tenant.fill(60)
        wanted = [f"held-{n}" for n in range(60)]
        self.tenant.must(self.tenant.group("RESERVE", [Item.of("first", name) for name in wanted], wait_ms=60_000))
        self.gets()
        self.tenant.must(self.tenant.group("RESERVE", [Item.of("second", name) for name in wanted], wait_ms=60_000))
        self.assertLess(self.gets(), 10)

    def test_a_definition_with_many_names_counts_them(self) -> None:
        above = tuple(f"level-{n}" for n in range(31))
        deep = [Definition(f"leaf-{n}", ancestors=above) for n in range(MANY)]
        self.assertEqual(self.tenant.register(deep).word, "TOO_MUCH_WORK")
        self.assertEqual(self.tenant.register(deep[:200]).word, "OK")

    def test_slots_that_a_call_gives_back_from_the_last_to_the_first_are_all_taken_in_it(self) -> None:
        self.tenant.must(self.tenant.register([Definition("gpu", 2)]))
        slots = [Item.of("holder", "gpu_1"), Item.of("holder", "gpu_0")]
        for slot in slots:
            self.tenant.take(slot)
        self.tenant.must(self.tenant.group("RESERVE", [Item.of("waiting", "gpu", 2)], wait_ms=60_000))
        self.tenant.must(self.tenant.group("UNRESERVE", slots))
        self.assertEqual(self.redis.call("HEXISTS", self.tenant.key("held"), "gpu\0waiting"), 1)

    def test_a_line_goes_on_where_no_more_may_be_held(self) -> None:
        # Given more held than may be held since, and somebody who waits.
        items = [Item.of("holder", name) for name in ("a", "b", "c")]
        for item in items:
            self.tenant.take(item)
        self.tenant.must(self.tenant.reserve([Item.of("waiting", "a")], wait_ms=60_000))
        self.tenant.held_limit = 1
        # When the first is given back, then it stays free, and goes to who waits once there is room.
        self.tenant.give(items[0])
        self.assertEqual(self.redis.call("HEXISTS", self.tenant.key("held"), "a"), 0)
        self.tenant.give(items[1])
        self.tenant.give(items[2])
        self.assertEqual(self.redis.call("HEXISTS", self.tenant.key("held"), "a"), 1)
