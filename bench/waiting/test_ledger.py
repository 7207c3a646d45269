"""The ledger's own tests: one that overlooks faults would find every run good. Run: PYTHONPATH=bench python3 -m unittest waiting.test_ledger"""

import unittest

from core.msgpack import pack

from .ledger import PIECE_EVENTS, Ledger
from .messages import Event, events_of


class LedgerTest(unittest.TestCase):
    def run_through(self, *events: tuple) -> Ledger:
        ledger, before = Ledger(), 0
        for position, kind, requester, ticket, *more in events:
            explanation, resource = [*more, *("", "r")[len(more) :]]
            ledger.note(Event(before, position, kind, explanation, requester, resource, ticket))
            before = position
        ledger.close()
        return ledger

    def test_a_right_hand_over_is_counted(self) -> None:
        ledger = self.run_through(
            (10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "WAITING", "p1 c", "C"), (40, "UNRESERVED", "p0 a", None), (41, "RESERVED", "p1 c", "C")
        )
        self.assertEqual((ledger.handed_over, ledger.order_errors, ledger.two_holders, ledger.lost_wake_ups, ledger.starved()), (1, 0, 0, 0, 1))

    def test_who_comes_later_is_an_error_of_order(self) -> None:
        for requester, ticket in (("p0 c", "C"), ("p0 d", None), ("p0 e", "E")):
            ledger = self.run_through(
                (10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "WAITING", "p0 c", "C"), (40, "UNRESERVED", "p0 a", None), (41, "RESERVED", requester, ticket)
            )
            self.assertEqual(ledger.order_errors, 1)
            self.assertIn("RESERVED", ledger.errors[0])

    def test_two_holders_and_a_lost_wake_up_are_found(self) -> None:
        self.assertEqual(self.run_through((10, "RESERVED", "p0 a", None), (20, "RESERVED", "p0 b", None)).two_holders, 1)
        lost = self.run_through((10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "UNRESERVED", "p0 a", None), (50, "RESERVED", "p0 b", "B"))
        self.assertEqual(lost.lost_wake_ups, 1)
        never = self.run_through((10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "UNRESERVED", "p0 a", None))
        self.assertEqual(never.lost_wake_ups, 1)

    def test_a_large_call_may_leave_hand_overs_to_the_next_ones_before_they_decide(self) -> None:
        begins = [(10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B")]
        expired = [(30 + at, "RESERVATION_EXPIRED", "p0 x", None, "EXPIRED", "other") for at in range(PIECE_EVENTS)]
        freed, served = (30 + PIECE_EVENTS, "UNRESERVED", "p0 a", None, "EXPIRED"), (70, "RESERVED", "p0 b", "B")
        ledger = self.run_through(*begins, *expired, freed, served)
        self.assertEqual((ledger.lost_wake_ups, ledger.in_pieces), (0, 1))
        decides = (60, "RESERVED", "p0 z", None, "", "other")
        ledger = self.run_through(*begins, *expired, freed, decides, served)
        self.assertEqual((ledger.lost_wake_ups, ledger.in_pieces), (1, 0))

    def test_a_missing_event_ends_it(self) -> None:
        ledger = self.run_through((10, "RESERVED", "p0 a", None))
        with self.assertRaises(RuntimeError):
            ledger.note(Event(11, 12, "UNRESERVED", "", "p0 a", "r", None))

    def test_a_message_is_read_as_functions_write_it(self) -> None:
        whole = pack("R", "t", 9, 10, False, 1, True, "RESERVED", "ACQUIRED", False, "RESERVE", "label", "p0 a", "UserDefined", "label", False, False, 0, False, "r")
        same, other = pack("S", True, "s"), pack("T", True, "p0 b", "UserDefined", "label", False, False, 0, "t")
        refused = pack("R", "t", False, False, False, 1, False, "RESERVE_FAILED", "ALREADY_HELD", False, "RESERVE", "label", "p0 c", "U", "label", False, False, 0, False, "r")
        waits = pack("R", "t", 12, False, False, 1, 13, "WAITING", "ALREADY_HELD", False, "RESERVE", "label", "p0 c", "U", "label", False, False, 0, [False, False, "T", False, 1, 5], "r")
        self.assertEqual(
            events_of(whole + same + other),
            [
                Event(9, 10, "RESERVED", "ACQUIRED", "p0 a", "r", None),
                Event(10, 11, "RESERVED", "ACQUIRED", "p0 a", "s", None),
                Event(11, 12, "RESERVED", "ACQUIRED", "p0 b", "t", None),
            ],
        )
        self.assertEqual(events_of(refused), [])
        self.assertEqual(events_of(waits), [Event(12, 13, "WAITING", "ALREADY_HELD", "p0 c", "r", "T")])


if __name__ == "__main__":
    unittest.main()
