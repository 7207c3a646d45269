#!/usr/bin/env python3
"""Writes a value under a reservation, to a database that checks the fencing token.

    fenced_write.py RESOURCE DATABASE VALUE [--ttl SECONDS] [--ask]

A time to live alone does not make a lock safe: a holder may be paused (by its garbage collector, a laptop's lid, a
hypervisor) and wake up after its reservation has ended and somebody else has got the resource. Every grant has a fencing
token, a number that only grows. The database remembers the greatest that it has seen and refuses a lower one.

--ask waits for a line on standard input between the grant and the write, to try what happens.

Exit codes: 0 written, 1 refused by the database, 75 held by somebody else.
"""

import argparse
import json
import os
import sqlite3
import sys
import threading
import urllib.request
import uuid

API = os.environ.get("HOLDFAST_URL", "http://127.0.0.1:8080") + "/api/v1"
KEY = os.environ["HOLDFAST_KEY"]


def call(verb, item):
    """Sends one item and returns its result. Raises urllib.error.HTTPError for a status from 400 on."""
    request = urllib.request.Request(
        f"{API}/Reservation/{verb}",
        data=json.dumps([item]).encode(),
        headers={"X-Api-Key": KEY, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)[0]


class Held(Exception):
    """Somebody else holds the resource."""


class Hold:
    """Holds a resource as a context manager, and renews it in the background, three times per TTL."""

    def __init__(self, resource, ttl):
        self.resource, self.ttl = resource, ttl
        self.requester = f"fenced-write-{uuid.uuid4()}"  # unique per holder
        self.fence = None
        self._done = threading.Event()

    def __enter__(self):
        result = call(
            "reserve",
            {"requester": self.requester, "resource": self.resource, "ttlSeconds": self.ttl},
        )
        if result["status"] != "ACQUIRED":
            raise Held(result["explanation"])
        self.fence = result["fencingToken"]
        self._claim = {
            "requester": self.requester,
            "resource": self.resource,
            "releaseToken": result["releaseToken"],
        }
        threading.Thread(target=self._renew, daemon=True).start()
        return self

    def _renew(self):
        while not self._done.wait(self.ttl / 3):
            try:
                call("renew", {**self._claim, "ttlSeconds": self.ttl})
            except OSError:
                pass  # try again; if all renewals fail, the fence protects the database

    def __exit__(self, *_):
        self._done.set()
        try:
            call("unreserve", self._claim)
        except OSError:
            pass  # it ends by itself


class FencedTable:
    """One value per name, each with the greatest fence that wrote it."""

    def __init__(self, path):
        self.database = sqlite3.connect(path, timeout=10)
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS fenced (name TEXT PRIMARY KEY, value TEXT, fence INTEGER)"
        )

    def write(self, name, value, fence):
        """Writes, unless a greater fence has written before: one statement, so nothing comes between."""
        with self.database:
            written = self.database.execute(
                "INSERT INTO fenced VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
                " SET value = excluded.value, fence = excluded.fence WHERE excluded.fence >= fenced.fence",
                (name, value, fence),
            )
        return written.rowcount == 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("resource")
    parser.add_argument("database")
    parser.add_argument("value")
    parser.add_argument("--ttl", type=int, default=60)
    parser.add_argument("--ask", action="store_true")
    given = parser.parse_args()

    table = FencedTable(given.database)
    try:
        with Hold(given.resource, given.ttl) as hold:
            print(f"acquired {hold.fence}", flush=True)
            if given.ask:
                sys.stdin.readline()
            written = table.write(given.resource, given.value, hold.fence)
    except Held as held:
        print(held, flush=True)
        return 75
    print(f"written {hold.fence}" if written else f"refused {hold.fence}", flush=True)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
