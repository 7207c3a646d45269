"""What differs from one run of a page to the next, made equal on both sides of a comparison."""

import re
import socket

# Replaced by their kind and a number in the order of their first appearance on the page: the same value twice has to be
# the same value twice.
NUMBERED = [
    ("key", re.compile(r"\b[hs][fk]_live_(?:[\w-]{8,}|\.\.\.)")),
    ("uuid", re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")),
    # Microseconds since 1970 until the year 2033.
    ("position", re.compile(r"\b1[789]\d{14}\b")),
]
# Replaced by their kind alone.
PLAIN = [
    ("time", re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)")),
    ("date", re.compile(r"\b\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")),
    # The command line leaves the date out where it is today's.
    ("clock", re.compile(r"\b(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d(?:\.\d{3})?\b")),
    ("holder", re.compile(r"\b[\w.-]+@[\w.-]+:\d+(?:-[0-9a-f]+)?\b")),
    ("retry", re.compile(r"(?<=retry: )\d+")),
    # How long it was waited for when the command said so.
    ("left", re.compile(r"\((?:in [\dhms]+|\d+s ago)\)(, place \d+)?(?:, waited \d+s)?")),
    ("duration", re.compile(r"\b(?<=in )(?:\d+h)?(?:\d+m)?(?:\d+s)?(?=\W)|(?<=yours for )[\dhms]+")),
    ("ms", re.compile(r'(?<="waitedMs":)\d+|(?<="waitedMs": )\d+')),
    ("rate", re.compile(r"(?<=;r=)\d+|(?<=;t=)\d+")),
    ("token", re.compile(r"\b[\w-]{20,}\.[\w-]{20,}(?:\.[\w-]{20,})?")),
]


def neutral(text, directory):
    """Output as a page may show it: without this machine's names, and without whole keys."""
    text = text.replace(f"{directory}/work", "~").replace(str(directory), "~")
    text = re.sub(rf"\b[\w.-]+@{re.escape(socket.gethostname())}\b", "ann@laptop", text)
    # A scanner of secrets does not know that the tenant is gone.
    return re.sub(r"\b([hs][fk]_live_)[\w-]{8,}", r"\1...", text)


class Numbers:
    """Replaces the values of one side, which are numbered over all calls."""

    def __init__(self):
        self.seen = {}

    def of(self, lines):
        return [self._line(line) for line in lines]

    def _line(self, line):
        line = line.rstrip()
        for kind, pattern in NUMBERED:
            line = pattern.sub(lambda match, kind=kind: self._number(kind, match[0]), line)
        for kind, pattern in PLAIN:
            line = pattern.sub(lambda match, kind=kind: f"<{kind}>{match[1] if pattern.groups else ''}", line)
        # Columns are as wide as the longest of their values.
        return re.sub(r"(?<=\S)  +", "  ", line)

    def _number(self, kind, value):
        known = self.seen.setdefault(kind, {})
        return f"<{kind} {known.setdefault(value, len(known) + 1)}>"
