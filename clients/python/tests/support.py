"""What the tests share: a real Redis, real replicas over it, tenants, and waiting for states."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import holdfast

ROOT = Path(__file__).parents[3]
BINARY = os.environ.get("HOLDFAST_BIN") or str(ROOT / "target" / "debug" / "holdfast")
ADMIN_KEY = "admin-key-of-the-tests"
# Timeout of every wait for a state, seconds: generous, because tests share the machine; only a failing test waits for it.
TIMEOUT = 20.0


def eventually(what: str, state: Callable[[], Any]) -> Any:
    """Waits until `state` gives something true, and returns it."""
    end = time.monotonic() + TIMEOUT
    while True:
        found = state()
        if found:
            return found
        assert time.monotonic() < end, f"timeout: {what}"
        time.sleep(0.005)


def environment() -> dict[str, str]:
    """The environment without settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


class Process:
    """A process that ends with this one, whatever becomes of it."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None, **options: Any) -> None:
        # Who runs the tests in the background of a shell ignores SIGINT, and a child would inherit that.
        whole = ["env", "--default-signal=INT", "setpriv", "--pdeathsig", "KILL", *command]
        self.child = subprocess.Popen(
            whole, env=environment() if env is None else env, stdin=subprocess.DEVNULL, **options
        )

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def stop(self) -> None:
        """Pauses it, and waits until the kernel says so."""
        self.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.child.pid}/stat")
        eventually("the process is stopped", lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T")

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdout, self.child.stderr):
            if stream is not None:
                stream.close()


class Redis(Process):
    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        options = ["--port", "0", "--save", "", "--unixsocket", str(self.socket), "--dir", str(folder)]
        super().__init__(["redis-server", *options], stdout=subprocess.DEVNULL)
        eventually("redis answers", self.socket.exists)

    @property
    def url(self) -> str:
        return f"redis+unix://{self.socket}"


class Replica(Process):
    """The service as users run it, with JSON logs."""

    def __init__(self, redis: Redis) -> None:
        settings = {
            "LISTEN": "127.0.0.1:0",
            "ADMIN_KEY": ADMIN_KEY,
            "REDIS_URL": redis.url,
            "LOG_FORMAT": "json",
            "DRAIN_SECONDS": "2",
            "WORKERS": "2",
        }
        env = environment() | {f"HOLDFAST_{name}": value for name, value in settings.items()}
        super().__init__([BINARY, "serve"], env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.log: list[str] = []
        self.url = ""
        listening = threading.Event()
        threading.Thread(target=self._read, args=(listening,), daemon=True).start()
        self._listening = listening

    def ready(self) -> Self:
        """Waits until it serves."""
        assert self._listening.wait(TIMEOUT) and self.url, "".join(self.log)
        eventually("the replica is ready", self._ready)
        return self

    def _read(self, listening: threading.Event) -> None:
        assert self.child.stderr is not None
        with contextlib.suppress(ValueError):
            for line in self.child.stderr:
                self.log.append(line.decode(errors="replace"))
                if b'"listening"' in line:
                    self.url = json.loads(line)["address"]
                    listening.set()
        listening.set()

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=TIMEOUT).status_code == 200
        return False


@dataclass
class Tenant:
    id: str
    key: str


class World:
    """One Redis and two replicas over it."""

    def __init__(self, replicas: int = 2) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-python-"))
        self._clients: list[holdfast.Client] = []
        self.redis = Redis(self._folder)
        self.replicas = [Replica(self.redis) for _ in range(replicas)]
        for replica in self.replicas:
            replica.ready()

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    def tenant(self, tier: str = "Pro") -> Tenant:
        answer = httpx.post(
            f"{self.urls[-1]}/api/v1/admin/tenants",
            headers={"X-Admin-Key": ADMIN_KEY},
            json={"name": f"python-{secrets.token_hex(4)}", "tier": tier},
            timeout=TIMEOUT,
        )
        assert answer.status_code == 201, answer.text
        return Tenant(answer.json()["tenantId"], answer.json()["apiKey"])

    def client(self, tenant: Tenant, *numbers: int) -> holdfast.Client:
        """A client that knows these replicas, all without numbers."""
        made = holdfast.Client(self.known(numbers), tenant.key)
        self._clients.append(made)
        return made

    def async_client(self, tenant: Tenant, *numbers: int) -> holdfast.AsyncClient:
        return holdfast.AsyncClient(self.known(numbers), tenant.key)

    def known(self, numbers: tuple[int, ...]) -> list[str]:
        return [self.urls[number] for number in numbers] if numbers else self.urls

    def repair(self) -> None:
        """Has everything run again that a test has stopped or killed."""
        for process in (self.redis, *self.replicas):
            process.go_on()
        self.replicas = [replica if replica.child.poll() is None else Replica(self.redis) for replica in self.replicas]
        for replica in self.replicas:
            replica.ready()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in (*self.replicas, self.redis):
            process.go_on()
            process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Program(Process):
    """A Python program with the package, whose lines a test reads."""

    def __init__(self, code: str, urls: list[str], key: str) -> None:
        env = environment() | {
            "HOLDFAST_URL": urls[0],
            "HOLDFAST_KEY": key,
            "URLS": json.dumps(urls),
            "PYTHONUNBUFFERED": "1",
        }
        super().__init__([sys.executable, "-c", code], env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self) -> str:
        """The next line of its output; what it complained about where there is none."""
        assert self.child.stdout is not None and self.child.stderr is not None
        line = str(self.child.stdout.readline())
        assert line, self.child.stderr.read()
        return line.rstrip("\n")

    def ended(self) -> int:
        return self.child.wait(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()


@contextlib.contextmanager
def running(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs `work` in a thread; the list has its result, or its exception, once it has ended. Waits for it at the end."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield outcome
    thread.join(TIMEOUT)
    assert outcome, "timeout: the thread ends"
