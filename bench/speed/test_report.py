"""Tests of the report; the suite runs them with `python3 -m unittest speed.test_report`."""

import re
import unittest
from pathlib import Path

from . import report
from .goals import GOALS, Goal
from .peers import PER_CALL, Peer
from .rounds import Row, alternate, ratio

README = Path(__file__).resolve().parents[1] / "README.md"


def rates(*per_s: float) -> list[dict[str, float]]:
    return [{"requests_per_s": one, "pairs_per_s": one / 2, "p50_us": 100.0, "p99_us": 200.0, "cal_ms": 10.0, "steal_percent": 1.0} for one in per_s]


class Verdicts(unittest.TestCase):
    def test_a_figure_that_should_be_small(self):
        goal = Goal(2.2, 1.5)
        self.assertEqual([goal.verdict(value) for value in (1.5, 1.6, 2.2, 2.3)], ["aim met", "milestone met", "milestone met", "MISSED"])

    def test_a_figure_that_should_be_large(self):
        goal = Goal(0.7, 1.0)
        self.assertEqual([goal.verdict(value) for value in (1.0, 0.9, 0.7, 0.69)], ["aim met", "milestone met", "milestone met", "MISSED"])

    def test_the_readme_names_the_same_goals(self):
        documented = dict(re.findall(r"^\| ([SCW]\d+(?: \w+)?) \|.*\| ([\d.]+ / [\d.]+)[^|]* \|$", README.read_text(), re.MULTILINE))
        self.assertEqual(documented, {name: f"{goal.milestone:g} / {goal.aim:g}" for name, goal in GOALS.items()})


class Ratios(unittest.TestCase):
    def test_rounds_are_compared_each_with_its_own(self):
        # The machine was twice as slow in the second round, for both.
        row = ratio("S1", "served over raw", rates(800, 400, 900), rates(1000, 500, 1000), "requests_per_s", "per s", "S1")
        self.assertEqual((row.values, row.median, row.verdict), ([0.8, 0.8, 0.9], 0.8, "milestone met"))

    def test_a_round_without_its_counterpart_is_a_fault(self):
        with self.assertRaises(ValueError):
            ratio("S1", "", rates(1, 2), rates(1), "requests_per_s", "per s")

    def test_every_other_round_goes_backwards(self):
        order = []
        runs = {name: lambda name=name: order.append(name) or {} for name in "ab"}
        samples = alternate(3, runs)
        self.assertEqual(order, list("abbaab"))
        self.assertEqual(len(samples["b"]), 3)


class Failures(unittest.TestCase):
    def test_a_failed_run_is_repeated_and_reported(self):
        faults = [RuntimeError("504"), None]

        def run():
            if fault := faults.pop(0):
                raise fault
            return {"requests_per_s": 1.0, "p99_us": 1.0}

        samples = {"part": alternate(1, {"a": run})}
        self.assertEqual(samples["part"]["a"][0]["failed"], 1)
        self.assertIn("**1 runs failed and were made again.**", report.conditions(samples))

    def test_a_run_that_always_fails_ends_it(self):
        def run():
            raise RuntimeError("401")

        with self.assertRaisesRegex(RuntimeError, "401"):
            alternate(1, {"a": run})


class Pages(unittest.TestCase):
    def test_a_page_says_figures_goals_peers_and_who_is_absent(self):
        row = Row("S10", "start to ready", [40.0, 45.0, 160.0], "S10", unit=" ms")
        peers = [Peer("holdfast", "HTTP", "", PER_CALL, None), Peer("webdis", "HTTP", "fences", PER_CALL, None)]
        samples = {"1": {"holdfast": rates(300, 300, 300), "webdis": rates(100, 200, 300)}}
        page = report.page("2026-01-01", {"memory": "1 GiB"}, "3 rounds.", [row], samples, (peers, samples, ["etcd is not installed"]), ["growth: 504"])
        self.assertIn("| S10 | start to ready | **45 ms** | 40 .. 160 | 150 / 50 | aim met |  |", page)
        self.assertIn("| webdis: HTTP | 100, 0.10 / 0.20 | **1.50** (1.00 .. 3.00) | fences |", page)
        self.assertIn("Left out: etcd is not installed.", page)
        self.assertIn("**Not measured, for it failed:** growth: 504", page)
        self.assertIn("A fixed loop took 10 .. 10 .. 10 ms", page)


if __name__ == "__main__":
    unittest.main()
