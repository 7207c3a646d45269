"""Tests of what W3 counts: turns that hand over to nobody must not pass for hand-overs. Run: PYTHONPATH=bench python3 -m unittest waiting.test_contest"""

import tempfile
import unittest
from pathlib import Path

from peers.hand_overs import Shared, Turns

from . import contest


class Contest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file, self.now = Path(directory.name) / "memory", 0.0

    def turns(self, *clients: int) -> Turns:
        """Of a process, with a window from 1 to 4."""
        return Turns(Shared(self.file), list(clients), 1.0, 3.0, clock=lambda: self.now)

    def turn(self, turns: Turns, client: int, asked: float, taken: float) -> None:
        self.now = taken
        with turns.held(client, asked):
            pass

    def test_a_turn_of_the_client_before_is_no_hand_over_whichever_process_that_is(self) -> None:
        here, there = self.turns(1, 2), self.turns(1001)
        for turns, client in ((here, 1), (here, 1), (there, 1001), (there, 1001), (here, 1), (here, 2)):
            self.turn(turns, client, 1.0, 2.0)
        self.assertEqual((here.summary()["pairs"], here.summary()["hand_overs"]), (4, 3))
        self.assertEqual((there.summary()["pairs"], there.summary()["hand_overs"]), (2, 1))

    def test_two_that_have_it_at_once_end_the_run(self) -> None:
        here, there = self.turns(1), self.turns(1001)
        with here.held(1, 0.0), self.assertRaisesRegex(RuntimeError, "client 1001 was given what client 1 has"):
            self.turn(there, 1001, 0.0, 2.0)

    def test_only_what_falls_into_the_window_counts_and_who_got_nothing_in_it_is_unserved(self) -> None:
        turns = self.turns(1, 2, 3)
        self.turn(turns, 1, 0.0, 0.5)
        self.turn(turns, 2, 0.0, 1.5)
        self.turn(turns, 3, 0.25, 9.0)
        said = turns.summary()
        self.assertEqual((said["pairs"], said["hand_overs"], said["unserved"]), (1, 1, 2))
        self.assertEqual(said["longest_s"], 3.75, "who still waits when the window ends has waited until then")

    def test_processes_are_added_and_the_worst_wait_of_them_is_told(self) -> None:
        one = {"pairs": 30, "hand_overs": 20, "unserved": 1, "seconds": 2.0, "p50_us": 10, "p99_us": 20, "longest_s": 0.5}
        whole = contest.total([one, {**one, "hand_overs": 10, "longest_s": 1.5}])
        self.assertEqual((whole["hand_overs_per_s"], whole["turns_per_s"], whole["unserved"], whole["longest_s"]), (15, 30, 2, 1.5))
        self.assertIn("| ours | 15 | 15 .. 15 | 30 | 2, 2 | 1.50 | 0.0 / 0.0 |", contest.table({"ours": [whole]}))


if __name__ == "__main__":
    unittest.main()
