"""Tests of what the measurement stands on; the suite runs them with `python3 -m unittest core.test_core`."""

import unittest

from .calls import Definition, Item, Tenant
from .instructions import ABSOLUTE, RATIOS, SETTINGS
from .msgpack import pack, unpack
from .redis import Redis


class MessagePack(unittest.TestCase):
    def test_what_is_packed_is_unpacked(self):
        numbers = [0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53, -1, -32, -33, -(2**40)]
        texts = [b"", b"a" * 31, b"a" * 32, b"a" * 255, b"a" * 256, b"a" * 65_536, bytes(range(256))]
        lists = [[], list(range(15)), list(range(16)), [[True, False]], list(range(70_000))]
        values = [*numbers, *texts, *lists]
        self.assertEqual(unpack(pack(*values)), values)


class Settings(unittest.TestCase):
    def test_every_figure_is_of_a_setting(self):
        named = {name for _, *names in RATIOS + ABSOLUTE for name in names}
        self.assertEqual(named, set(SETTINGS))


class Calls(unittest.TestCase):
    def test_every_setting_takes_and_gives_back(self):
        with Redis() as redis:
            for name, setting in SETTINGS.items():
                with self.subTest(name):
                    tenant = Tenant(redis)
                    if setting.definitions:
                        tenant.must(tenant.register(setting.definitions))
                    setting.take_and_give(tenant, 0)
                    self.assertEqual(redis.call("HLEN", tenant.key("held")), 0)

    def test_a_refused_call_fails_the_measurement(self):
        with Redis() as redis:
            tenant = Tenant(redis)
            tenant.must(tenant.register([Definition("gpu", 2)]))
            item = Item.of("early", "gpu")
            tenant.take(item)
            tenant.take(Item.of("second", "gpu"))
            with self.assertRaises(RuntimeError):
                tenant.take(Item.of("late", "gpu"))
            tenant.give(item)
            with self.assertRaises(RuntimeError):
                tenant.give(item)
