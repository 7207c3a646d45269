"""The ledger's own tests: one that overlooks faults would find every run good. Run: PYTHONPATH=bench python3 -m unittest waiting.test_ledger"""

import unittest

from .ledger import Ledger


class LedgerTest(unittest.TestCase):
    def run_through(self, *events: tuple) -> Ledger:
        ledger = Ledger()
        for position, kind, requester, ticket in events:
            ledger.note({"id": str(position), "type": kind, "resource": "r", "requester": requester, "ticket": ticket, "explanation": ""})
        ledger.between_calls()
        return ledger

    def test_a_right_hand_over_is_counted(self) -> None:
        ledger = self.run_through(
            (10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "WAITING", "p1 c", "C"), (40, "UNRESERVED", "p0 a", None), (41, "RESERVED", "p1 c", "C")
        )
        self.assertEqual((ledger.handed_over, ledger.order_errors, ledger.two_holders, ledger.lost_wake_ups, ledger.starved()), (1, 0, 0, 0, 1))

    def test_who_comes_later_is_an_error_of_order(self) -> None:
        for requester, ticket in (("p0 c", "C"), ("p0 d", None)):
            ledger = self.run_through(
                (10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "WAITING", "p0 c", "C"), (40, "UNRESERVED", "p0 a", None), (41, "RESERVED", requester, ticket)
            )
            self.assertEqual(ledger.order_errors, 1)

    def test_two_holders_and_a_lost_wake_up_are_found(self) -> None:
        self.assertEqual(self.run_through((10, "RESERVED", "p0 a", None), (20, "RESERVED", "p0 b", None)).two_holders, 1)
        lost = self.run_through((10, "RESERVED", "p0 a", None), (20, "WAITING", "p0 b", "B"), (30, "UNRESERVED", "p0 a", None), (50, "RESERVED", "p0 b", "B"))
        self.assertEqual(lost.lost_wake_ups, 1)


if __name__ == "__main__":
    unittest.main()
