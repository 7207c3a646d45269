"""The measured servers: started on free ports of the loopback, and killed with this process."""

import http.client
import json
import secrets
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "bench/target/release"
ADMIN_KEY = secrets.token_hex(32)
"""As `openssl rand -hex 32` makes it."""
PATIENCE_S = 20

# Finite, so that every call is counted and every reservation compared with its limit, and far above the load. What is not named stays as it is.
TIER = "Pro"
TIERS = f"""[{TIER}]
requests_per_second = 100000
burst = 1000000
concurrent_reservations = 100000000
waiting_tickets = 100000000
"""


def until(what: str, holds: Callable[[], bool], every_s: float = 0.01) -> None:
    """Waits for a state."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {PATIENCE_S} s")
        time.sleep(every_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, body: object = None) -> tuple[int, object]:
        """One HTTP call with JSON: the status, and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            said = answer.read()
            is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
            return answer.status, json.loads(said) if is_json else said
        finally:
            connection.close()


class Redis(Server):
    def ask(self, *words: str) -> str:
        """One command whose answer is a line or a text."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as connection, connection.makefile("rwb") as file:
            file.write(b"*%d\r\n" % len(words))
            for word in words:
                file.write(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()))
            file.flush()
            line = file.readline().decode().strip()
            if line.startswith("-"):
                raise RuntimeError(f"Redis refused {words[0]}: {line[1:]}")
            return file.read(int(line[1:])).decode() if line.startswith("$") else line[1:]

    def scripts(self) -> tuple[int, int]:
        """Microseconds in functions and scripts, and how many calls of them there were, since `CONFIG RESETSTAT`."""
        spent_us, calls = 0, 0
        for line in self.ask("INFO", "commandstats").splitlines():
            if line.startswith(("cmdstat_fcall:", "cmdstat_evalsha:")):
                fields = dict(field.split("=") for field in line.split(":", 1)[1].split(","))
                spent_us, calls = spent_us + int(fields["usec"]), calls + int(fields["calls"])
        return spent_us, calls


@dataclass(frozen=True)
class Setup:
    """Holdfast, the Redis under it, and a tenant to call as."""

    redis: Redis
    replicas: tuple[Server, ...]
    key: str
    """Of several tenants, with commas between."""

    @property
    def replica(self) -> Server:
        return self.replicas[0]


class Servers:
    """Starts servers, and ends all of them when the `with` block is left."""

    def __init__(self, holdfast: Path) -> None:
        self.holdfast = holdfast
        self._stack = ExitStack()

    def __enter__(self) -> "Servers":
        self.dir = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        (self.dir / "tiers.toml").write_text(TIERS)
        return self

    def __exit__(self, *fault: object) -> None:
        self._stack.close()

    def start(self, *command: object, env: dict[str, str] | None = None, **pipes: object) -> subprocess.Popen:
        """Starts a program in the directory of this run. What it says goes into a file there."""
        with open(self.dir / "said", "ab") as said:
            words = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]
            process = subprocess.Popen(words, env=env, cwd=self.dir, **{"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said, **pipes})
        self._stack.callback(self.end, process)
        return process

    def said(self) -> str:
        """The last lines of the servers' logs."""
        return (self.dir / "said").read_text()[-2000:]

    @staticmethod
    def end(process: subprocess.Popen) -> None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def listening(self, kind: type, port: int, *command: object, **more: object) -> Server:
        """The server that this command starts, once it listens."""
        process = self.start(*command, **more)

        def up() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended; the last that was said:\n{self.said()}")
            return listens(port)

        until(f"{command[0]} listening", up)
        return kind(port, process.pid)

    def redis(self, durable: bool = False) -> Redis:
        """Without persistence, as nearly everywhere in these figures; durable: with a log that is synced every second."""
        port = free_port()
        log = ("--appendonly", "yes", "--appendfsync", "everysec", "--appenddirname", f"log-{port}") if durable else ("--appendonly", "no")
        return self.listening(Redis, port, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", *log, "--maxclients", 15000)

    def environment(self, redis: Redis, port: int, workers: int | None) -> dict[str, str]:
        """The settings of a replica. It gets no other variable, so that the caller's own settings change nothing."""
        settings = {"LISTEN": f"127.0.0.1:{port}", "REDIS_URL": f"redis://{redis.address}", "LOG": "warn"}
        settings |= {"ADMIN_KEY": ADMIN_KEY, "TIERS_FILE": str(self.dir / "tiers.toml")}
        if workers:
            settings["WORKERS"] = str(workers)
        return {f"HOLDFAST_{name}": value for name, value in settings.items()}

    def replica(self, redis: Redis, workers: int | None = None, port: int | None = None) -> Server:
        port = port or free_port()
        replica = self.listening(Server, port, self.holdfast, "serve", env=self.environment(redis, port, workers))

        def ready() -> bool:
            try:
                return replica.call("GET", "/readyz")[0] == 200
            except OSError:
                return False

        until("a replica ready", ready)
        return replica

    def setup(self, workers: int | None = None, replicas: int = 1, durable: bool = False) -> Setup:
        redis = self.redis(durable)
        running = tuple(self.replica(redis, workers) for _ in range(replicas))
        return Setup(redis, running, self.tenant(running[0]))

    @staticmethod
    def tenant(replica: Server, tier: str = TIER) -> str:
        """The key of a new tenant."""
        status, tenant = replica.call("POST", "/api/v1/admin/tenants", {"X-Admin-Key": ADMIN_KEY}, {"name": "bench", "tier": tier})
        if status != 201:
            raise RuntimeError(f"a tenant was answered {status}: {tenant}")
        return tenant["apiKey"]

    @contextmanager
    def streams(self, replica: Server, key: str, number: int) -> Iterator[None]:
        """Event streams of a tenant, open and read within the block."""
        words = (BUILT / "load", "streams", "--addr", replica.address, "--key", key, "--number", number)
        process = self.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if process.stdout.readline() != b"open\n":
                raise RuntimeError(f"{number} streams could not be opened; the last that was said:\n{self.said()}")
            yield
        finally:
            self.end(process)

    def echo(self) -> Server:
        port = free_port()
        return self.listening(Server, port, BUILT / "echo", f"127.0.0.1:{port}")

    def nginx(self, replicas: tuple[Server, ...]) -> Server:
        """The repository's own configuration before these replicas, changed as its head says."""
        port = free_port()
        text = (ROOT / "deploy/nginx.conf").read_text()
        for number in (1, 2, 3):
            name = f"server holdfast-{number}:8080 max_fails=0;"
            line = f"server {replicas[number - 1].address} max_fails=0;" if number <= len(replicas) else ""
            text = self._replaced(text, name, line)
        text = self._replaced(text, "listen 8080;", f"listen 127.0.0.1:{port};")
        text = self._replaced(text, "/tmp/holdfast-nginx", f"{self.dir}/nginx-{port}")
        text = self._replaced(text, "/dev/stdout", f"{self.dir}/access-{port}.log")
        file = self.dir / f"nginx-{port}.conf"
        file.write_text(text)
        return self.listening(Server, port, "nginx", "-e", "stderr", "-g", "daemon off;", "-c", file)

    @staticmethod
    def _replaced(text: str, old: str, new: str) -> str:
        if old not in text:
            raise RuntimeError(f"deploy/nginx.conf no longer says {old!r}")
        return text.replace(old, new)
