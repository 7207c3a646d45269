"""Milestones and aims of the figures. `bench/README.md` explains each; a test compares the two."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    milestone: float
    aim: float

    @property
    def more_is_better(self) -> bool:
        return self.aim > self.milestone

    def verdict(self, value: float) -> str:
        met = (lambda bound: value >= bound) if self.more_is_better else (lambda bound: value <= bound)
        return "aim met" if met(self.aim) else "milestone met" if met(self.milestone) else "MISSED"


GOALS = {
    "S1": Goal(0.7, 1.0),
    "S2": Goal(2.2, 1.5),
    "S3": Goal(1.3, 1.1),
    "S4 p50": Goal(2, 1.5),
    "S4 p99": Goal(3, 2),
    "S5": Goal(5, 2),
    "S6": Goal(6, 10),
    "S7": Goal(1.15, 1.05),
    "S8": Goal(1.05, 1.0),
    "S9 memory": Goal(40, 20),
    "S9 CPU": Goal(1, 0.3),
    "S10": Goal(150, 50),
    "W1 p50": Goal(3, 1),
    "W1 p99": Goal(20, 5),
    "W2 1000": Goal(20, 10),
    "W2 10000": Goal(100, 20),
    "W3": Goal(3, 10),
    "W4": Goal(0, 0),
    "W5": Goal(1000, 50),
    "W6 calls": Goal(2, 2),
    "W6 memory": Goal(4, 4),
    "C1": Goal(1.15, 1.05),
    "C2": Goal(2.0, 1.6),
    "C3 leaf": Goal(1.7, 1.4),
    "C3 blockers": Goal(2.0, 1.6),
    "C4": Goal(2.3, 2.0),
    "C7 plain": Goal(0.9, 1.1),
    "C7 pool": Goal(0.8, 1.0),
    "C7 slots": Goal(0.5, 0.8),
    "C7 tenants": Goal(0.8, 1.0),
    "C8": Goal(20, 10),
}
