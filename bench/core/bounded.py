"""The dearest call of each function, in instructions, each held under a bound: python3 -m core.bounded, by itself or with some cases of C8.

The cases of C8 are gone through twice on a server by itself. The first time finds each function's dearest calls, by the time of Redis' thread. The second time
copies the tenant as it is before each of them. All of it is saved, and a server under callgrind begins with that and makes these calls.
"""

import argparse
import re
import sys
import uuid
from dataclasses import dataclass

from . import dearest_others  # noqa: F401: it adds cases
from .calls import TAG, Tenant
from .dearest import CASES, TimedRedis
from .library import groups
from .msgpack import unpack
from .redis import DumpingRedis, Redis

MOST = 100_000_000
"""The bound: as many steps as a call may take (`lua/core/budget.lua`), each of up to 18,000 instructions. Some 15 to 20 ms of a server's thread."""
AT_LEAST = 10_000
"""A call of fewer instructions has failed."""
OF_EACH = 2
"""Calls of each function that are counted: the clock of the first pass is not exact."""
CONSTANT = {
    "issuer_claim": "one key, which it reads and sets",
    "issuer_drop": "one key, which it reads and deletes",
    "tenant_create": "fields of a new hash, and one key",
    "tenant_read": "a fixed number of fields, each bounded where it is written",
    "tenant_update": "the same, written",
    "session_end": "one session",
}
"""Functions whose work depends on nothing that is stored or sent, but for names that are bounded."""
OF_TENANT = re.compile(re.escape(f"hf:{{{TAG}}}:") + r"([0-9a-f-]{36}):")
"""A key of a tenant: its name."""
NOBODY = "nobody".ljust(36, "-")


@dataclass(frozen=True)
class Place:
    """One call of a case."""

    case: str
    number: int


@dataclass(frozen=True)
class Taken:
    """A call that is to be counted, on a copy of its tenant."""

    place: Place
    words: tuple[object, ...]


def function_of(words: tuple[object, ...]) -> str:
    return str(words[1]).split("_", 2)[2]


def run(case: str, redis: Redis) -> None:
    CASES[case](Tenant(redis, history=100_000))


def find(cases: list[str]) -> dict[str, list[tuple[float, Place]]]:
    """The dearest calls of each function, the dearest first, each of another case."""
    found: dict[str, dict[str, tuple[float, Place]]] = {}
    with TimedRedis() as redis:
        for case in cases:
            redis.call("FLUSHALL")
            redis.calls.clear()
            run(case, redis)
            for number, (ms, function) in enumerate(redis.calls):
                of_function = found.setdefault(function, {})
                if ms > of_function.get(case, (0.0,))[0]:
                    of_function[case] = (ms, Place(case, number))
            print(f"  {case}: {len(redis.calls)} calls", file=sys.stderr)
    return {function: sorted(by_case.values(), key=lambda call: -call[0]) for function, by_case in found.items()}


class CopyingRedis(Redis):
    """Keeps some calls, each with a copy of its tenant as it is before the call."""

    def __init__(self) -> None:
        super().__init__()
        self.case, self.numbers, self.taken = "", set[int](), list[Taken]()
        self._number = 0
        ask = self.call

        def copying(*words: object) -> object:
            if words[0] == "FCALL":
                if self._number in self.numbers:
                    self.taken.append(Taken(Place(self.case, self._number), self._on_a_copy(ask, words)))
                self._number += 1
            return ask(*words)

        self.call = copying

    def begin(self, case: str, numbers: set[int]) -> None:
        self.case, self.numbers, self._number = case, numbers, 0

    def _on_a_copy(self, ask, words: tuple[object, ...]) -> tuple[object, ...]:
        name = next((found[1] for word in words if (found := OF_TENANT.match(str(word)))), None)
        if not name:
            return words
        copy = str(uuid.uuid4())
        for key in ask("KEYS", f"hf:{{{TAG}}}:{name}:*"):
            ask("COPY", key, key.replace(name.encode(), copy.encode()))
        return tuple(renamed(word, name, copy) for word in words)


def renamed(word: object, name: str, copy: str) -> object:
    if isinstance(word, bytes):
        return word.replace(name.encode(), copy.encode())
    return word.replace(name, copy) if isinstance(word, str) else word


def word_of(answer: object) -> str:
    """The word of an answer; of calls that share one, of the first of them."""
    values = unpack(answer if isinstance(answer, bytes) else b"")
    if len(values) < 2 or not isinstance(values[1], bytes):
        values = unpack(values[0])
    return values[1].decode()


def count(places: list[Place]) -> list[tuple[Place, str, int, str]]:
    """Place, function, instructions and word of the answer of each."""
    counted = []
    with CopyingRedis() as redis:
        for case in CASES:
            numbers = {place.number for place in places if place.case == case}
            if numbers:
                redis.begin(case, numbers)
                run(case, redis)
        with DumpingRedis(redis.save()) as dumping:
            for taken in redis.taken:
                # A group's first call makes it. Of a tenant that is not there nothing more is done.
                found = OF_TENANT.match(str(taken.words[3]))
                if found:
                    dumping.instructions_of(tuple(renamed(word, found[1], NOBODY) for word in taken.words))
                instructions, answer = dumping.instructions_of(taken.words)
                counted.append((taken.place, function_of(taken.words), instructions, word_of(answer)))
                print(f"  {instructions:12,}  {counted[-1][1]:<18} {counted[-1][3]:<14} {taken.place.case}", file=sys.stderr)
    return counted


def functions() -> set[str]:
    return {part.function for parts in groups().values() for part in parts if part.function}


def faults(counted: list[tuple[Place, str, int, str]], is_whole: bool) -> list[str]:
    found = [f"{function} took {instructions:,} instructions in {place.case!r}; {MOST:,} are allowed" for place, function, instructions, _ in counted if instructions > MOST]
    found += [f"{function} took {instructions:,} instructions in {place.case!r}, and answered {word}" for place, function, instructions, word in counted if instructions < AT_LEAST]
    found += [f"{function} answered {word} in {place.case!r}" for place, function, _, word in counted if word in ("STALE", "KEYS", "RATE")]
    if is_whole:
        seen = {function for _, function, _, _ in counted}
        found += [f"no case calls {function}" for function in sorted(functions() - seen - set(CONSTANT))]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="core.bounded", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases of C8 whose dearest call alone is counted; by default every function's, of all")
    given = parser.parse_args()
    found = find(given.cases or list(CASES))
    if given.cases:
        best = {}
        for ms, place in (call for calls in found.values() for call in calls):
            best[place.case] = max(best.get(place.case, (0.0, place)), (ms, place), key=lambda call: call[0])
        places = [place for _, place in best.values()]
    else:
        places = [place for function, calls in found.items() if function not in CONSTANT for _, place in calls[:OF_EACH]]
    counted = count(places)
    for place, function, instructions, word in sorted(counted, key=lambda call: -call[2]):
        print(f"{instructions:12,}  {function:<18} {word:<14} {place.case}")
    if found_faults := faults(counted, not given.cases):
        sys.exit("\n".join(found_faults))


if __name__ == "__main__":
    main()
