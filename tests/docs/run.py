#!/usr/bin/env python3
"""Runs the commands in the documentation and compares what they print with what the pages say.

    run.py [--holdfast BINARY] [--update] [PAGE...]

Each page gets a service of its own with a private Redis, a tenant, and one shell in an empty directory, in which its
blocks run in their order. --update writes what the commands print into the pages that differ. Without pages: all.

A block of a page is one of these:

    ```console                      `$ ` begins a command; it goes on in lines that begin with `> ` and after a `\\`. What
                                    follows is what it prints, standard error included.
    ```python file=worker.py        a file, written into the shell's directory
    ```sh not-run: needs a cluster  neither run nor compared, for the reason that readers see below it
    <<< ./deploy.sh                 a file beside the page, copied into the shell's directory

The shell knows HOLDFAST_URL, HOLDFAST_KEY and HOLDFAST_ADMIN_KEY, and the short API and KEY. 127.0.0.1:8080 stands for
the service, another port of loopback for a free one. `needs:` in a page's head lists servers that it gets besides: redis
(at 127.0.0.1:6379), postgres (by PGHOST).

Exit codes: 0 all pages are right, 1 some are not.
"""

import argparse
import difflib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import normal

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LEFT_OUT = {
    # About the code, for those who change it: nothing in it is a session with the service.
    "performance.md",
    # Its configurations and calls are used as they stand by tests/suite/http/agents.
    "recipes/agents.md",
}
ADMIN_KEY = "admin-key-of-the-documentation"
# Timeout of one page, in seconds. Only a page that hangs waits for it.
PAGE_SECONDS = 180
LOOPBACK = re.compile(r"\b(127\.0\.0\.1|localhost):(\d{4,5})\b")


class Fault(Exception):
    """What is wrong with a page, for its author."""


class Command:
    """A command of a page, and the lines [begin, end) of what it prints."""

    def __init__(self, text, line):
        self.text, self.line = text, line
        self.begin = self.end = line
        self.shown = []


class File:
    """A file that a page shows."""

    def __init__(self, name, text):
        self.name, self.text = name, text


def steps_of(page, text):
    """The commands and files of a page in their order."""
    lines = text.split("\n")
    steps, at = [], 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if snippet := re.fullmatch(r"<<< \./([^\s{]+)(?:\{.*\})?", line):
            source = page.parent / snippet[1]
            if not source.is_file():
                raise Fault(f"line {at}: there is no {source}")
            steps.append(File(source.name, source.read_text()))
            continue
        fence = re.fullmatch(r"( *)(```+)(.*)", line)
        if not fence:
            continue
        closing = fence[1] + fence[2]
        begin = at
        while at < len(lines) and lines[at] != closing:
            at += 1
        if at == len(lines):
            raise Fault(f"line {begin}: the block does not end")
        at += 1
        kind, body = fence[3].strip(), lines[begin : at - 1]
        if re.search(r"\snot-run: \w+", kind):
            continue
        if named := re.search(r"\sfile=(\S+)", kind):
            steps.append(File(named[1], "\n".join(body) + "\n"))
        elif kind == "console":
            if fence[1]:
                raise Fault(f"line {begin}: a console block is not indented")
            steps.extend(commands_of(body, begin))
        else:
            raise Fault(f"line {begin}: a block is `console`, or has `file=NAME` or `not-run: REASON`")
    return steps


def commands_of(body, first):
    commands, goes_on = [], False
    for number, line in enumerate(body, first):
        if goes_on or (line.startswith("> ") and commands and not commands[-1].shown):
            commands[-1].text += "\n" + line.removeprefix("> ")
            commands[-1].begin = commands[-1].end = number + 1
        elif line.startswith("$ "):
            commands.append(Command(line[2:], number + 1))
            line = line[2:]
        elif commands:
            commands[-1].shown.append(line)
            commands[-1].end = number + 1
            continue
        else:
            raise Fault(f"line {number + 1}: a console block begins with a command")
        goes_on = line.endswith("\\")
    return commands


def head_of(text):
    """The servers that a page needs besides, from its front matter."""
    head = re.match(r"---\n(.*?)\n---\n", text, re.S)
    needs = re.search(r"^needs: (.*)$", head[1], re.M) if head else None
    return needs[1].replace(",", " ").split() if needs else []


NEXT = itertools.count(os.getpid() * 61)


def free_port():
    """A port that no other page gets, below those of the suite. Holdfast shares ports, so that two would both serve there."""
    for step in NEXT:
        port = 10_000 + step % 2_000
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def until(what, found, seconds=30):
    """Waits until `found` returns something true, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if result := found():
                return result
        except OSError:
            pass
        time.sleep(0.02)
    raise Fault(f"timeout: {what}")


class Ports:
    """Free ports in place of those that a page names."""

    def __init__(self, service):
        self.given = {"8080": service}

    def real(self, text):
        return LOOPBACK.sub(lambda match: f"{match[1]}:{self.of(match[2])}", text)

    def of(self, named):
        return self.given.setdefault(named, str(free_port()))

    def shown(self, text):
        named = {real: shown for shown, real in self.given.items()}
        return re.sub(r"\b\d{4,5}\b", lambda match: named.get(match[0], match[0]), text)


class World:
    """A service with a tenant, and what else a page needs. All of it ends with `close`."""

    def __init__(self, holdfast, needs):
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-docs-"))
        self.processes = []
        try:
            self._start(holdfast, needs)
        except BaseException:
            self.close()
            raise

    def _start(self, holdfast, needs):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        # English messages of the tools, the same everywhere.
        clean |= {"LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(self.dir / "config"), "NO_COLOR": "1", "USER": "ann"}
        self.ports = Ports(str(free_port()))
        settings = {
            "HOLDFAST_LISTEN": f"127.0.0.1:{self.ports.of('8080')}",
            "HOLDFAST_ADMIN_KEY": ADMIN_KEY,
            "HOLDFAST_SECRET_KEY": "secret-key-of-the-documentation-0123456789",
            "HOLDFAST_DATA_DIR": str(self.dir / "data"),
            "HOLDFAST_BROKER_HOSTS": f"127.0.0.1:{self.ports.of('6379')}",
            "HOLDFAST_DRAIN_SECONDS": "1",
        }
        self.begin([holdfast, "serve"], clean | settings, "service")
        url = f"http://127.0.0.1:{self.ports.of('8080')}"
        until("the service is ready", lambda: urllib.request.urlopen(f"{url}/readyz").status == 200)
        made = urllib.request.Request(
            f"{url}/api/v1/admin/tenants",
            data=json.dumps({"name": "acme", "tier": "Pro"}).encode(),
            headers={"X-Admin-Key": ADMIN_KEY, "Content-Type": "application/json"},
        )
        key = json.load(urllib.request.urlopen(made))["apiKey"]
        self.environment = clean | {
            "PATH": f"{Path(holdfast).parent}:{clean['PATH']}",
            "HOLDFAST_URL": url,
            "HOLDFAST_KEY": key,
            "HOLDFAST_ADMIN_KEY": ADMIN_KEY,
            "API": f"{url}/api/v1",
            "KEY": key,
        }
        # Python with the packages of the tests, and no other program that came with them.
        for name in ["python3", "celery"]:
            program = ROOT / "tests/clients/.venv/bin" / name
            if program.exists():
                wrapper = self.dir / "bin" / name
                wrapper.parent.mkdir(exist_ok=True)
                wrapper.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
                wrapper.chmod(0o755)
        self.environment["PATH"] = f"{self.dir}/bin:{self.environment['PATH']}"
        for need in needs:
            {"redis": self.redis, "postgres": self.postgres}[need](clean)
        self.work = self.dir / "work"
        self.work.mkdir()

    def begin(self, command, environment, name):
        log = (self.dir / f"{name}.log").open("w")
        # A process group of its own, so that all that it starts ends with it; and its end, even where this one is killed.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.dir,
        )
        self.processes.append(process)
        return process

    def redis(self, clean):
        port = self.ports.of("6379")
        self.begin(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""], clean, "redis")
        until("redis listens", lambda: socket.create_connection(("127.0.0.1", int(port))).close() is None)

    def postgres(self, clean):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        path = f"{binaries[-1]}:{clean['PATH']}" if binaries else clean["PATH"]
        place = self.dir / "postgres"
        place.mkdir()
        # PostgreSQL refuses to run as root.
        drop = []
        if os.geteuid() == 0:
            drop = ["setpriv", "--reuid", "nobody", "--clear-groups", "--pdeathsig", "TERM"]
            self.dir.chmod(0o755)
            shutil.chown(place, "nobody")
        with_path = clean | {"PATH": path}
        subprocess.run(
            [*drop, "initdb", "--auth=trust", "--username=app", "--no-sync", f"--pgdata={place}/data"],
            env=with_path, stdout=subprocess.DEVNULL, check=True,
        )
        serve = ["postgres", "-D", f"{place}/data", "-k", str(place), "-c", "listen_addresses=", "-c", "fsync=off"]
        self.begin([*drop, *serve], with_path, "postgres")
        self.environment |= {"PGHOST": str(place), "PGUSER": "app", "PGDATABASE": "postgres"}
        ask = ["psql", "-qc", "select 1"]
        until("postgres answers", lambda: subprocess.run(ask, env=self.environment, capture_output=True).returncode == 0)

    def run(self, steps):
        """Runs commands and files in one shell; returns what each command printed and its exit code."""
        script, commands = [], []
        for number, step in enumerate(steps):
            if isinstance(step, File):
                path = self.work / step.name
                source = self.dir / f"file-{number}"
                source.write_text(self.ports.real(step.text))
                # Programs may be started by their name.
                script.append(f"install -D -m 755 '{source}' '{path}'")
                continue
            source = self.dir / f"command-{number}"
            source.write_text(self.ports.real(step.text) + "\n")
            # `eval` keeps variables, functions and jobs; the code of the last command is there for `$?`.
            script.append(f"(exit $code); . '{source}' > '{self.dir}/output-{number}' 2>&1 < /dev/null")
            script.append(f"code=$?; echo $code > '{self.dir}/code-{number}'")
            commands.append((step, number))
        (self.dir / "script").write_text("code=0\n" + "\n".join(script) + "\n")
        shell = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "bash", "--norc", self.dir / "script"],
            env=self.environment, cwd=self.work, start_new_session=True,
        )
        self.processes.append(shell)
        try:
            shell.wait(timeout=PAGE_SECONDS)
        except subprocess.TimeoutExpired:
            last = next((step for step, number in commands if not (self.dir / f"code-{number}").exists()), None)
            raise Fault(f"line {last.line if last else 0}: did not end within {PAGE_SECONDS} s") from None
        finally:
            # What a page started in the background ends with it.
            self.end(shell)
        results = []
        for step, number in commands:
            code = self.dir / f"code-{number}"
            output = (self.dir / f"output-{number}").read_text() if code.exists() else ""
            shown = normal.neutral(self.ports.shown(output), self.dir)
            results.append((step, shown.rstrip("\n").split("\n") if shown.strip() else [], int(code.read_text())))
        return results

    @staticmethod
    def end(process):
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            return

    def close(self):
        for process in reversed(self.processes):
            self.end(process)
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(self.dir, ignore_errors=True)


def check(page, holdfast, update):
    """Runs one page; returns its faults."""
    text = page.read_text()
    try:
        steps = steps_of(page, text)
        if not any(isinstance(step, Command) for step in steps):
            return []
        world = World(holdfast, head_of(text))
        try:
            results = world.run(steps)
        finally:
            world.close()
    except Fault as fault:
        return [str(fault)]
    faults = []
    for at, (step, _, code) in enumerate(results):
        asked = at + 1 < len(results) and "$?" in results[at + 1][0].text
        # One that fails without a word would pass for one that has nothing to say.
        if code and not asked and not results[at][1]:
            faults.append(f"line {step.line}: ended with {code} and said nothing")
    # Numbered over the whole page: a token that is released must be the one that was granted.
    shown, real = normal.Numbers(), normal.Numbers()
    different = False
    for step, lines, _ in results:
        said, printed = shown.of(trimmed(step.shown)), real.of(lines)
        if said != printed:
            different = True
            if not update:
                diff = list(difflib.unified_diff(said, printed, "the page", "the command", lineterm="", n=1))
                faults.append(f"line {step.line}: $ {step.text}\n    " + "\n    ".join(diff[2:]))
    if different and update:
        lines = text.split("\n")
        for step, printed, _ in reversed(results):
            blank = [""] if step.shown and not step.shown[-1] and step.end < len(lines) else []
            lines[step.begin : step.end] = [*printed, *blank]
        page.write_text("\n".join(lines))
        print(f"updated {page.name}")
    return faults


def trimmed(lines):
    return "\n".join(lines).rstrip("\n").split("\n") if any(lines) else []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--holdfast", default=str(ROOT / "target/debug/holdfast"), help="the binary")
    parser.add_argument("--update", action="store_true", help="write what the commands print into the pages")
    parser.add_argument("--jobs", type=int, default=2, help="pages at once")
    parser.add_argument("pages", nargs="*", type=Path)
    given = parser.parse_args()
    holdfast = str(Path(given.holdfast).resolve())
    pages = given.pages or [page for page in sorted(DOCS.rglob("*.md")) if str(page.relative_to(DOCS)) not in LEFT_OUT]
    with ThreadPoolExecutor(given.jobs) as pool:
        found = list(pool.map(lambda page: check(page, holdfast, given.update), pages))
    for page, faults in zip(pages, found):
        for fault in faults:
            print(f"{page}: {fault}")
    print(f"{len(pages)} pages, {sum(map(len, found))} faults")
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
