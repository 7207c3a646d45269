"""A private Redis on a unix socket, by itself or under callgrind, and one connection to it."""

import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Self

from .library import library

PATIENCE_S = 120
CALL_S = 600
DATA = "dump.rdb"
COUNTED = "fcallCommand"
"""The function of Redis whose instructions are counted: one call of a function, from its arguments to its answer."""


class RedisError(RuntimeError):
    """Redis answered an error."""


class Connection:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(CALL_S)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb", 1 << 20)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __call__(self, *words: object) -> object:
        encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded))
        return self._reply()

    def _reply(self) -> object:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self._file.read(length + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        raise RedisError(f"the server ended the connection: {line!r}")


class Redis:
    """A server with the library loaded, without persistence. It ends with the block."""

    def __init__(self, *options: object, wrapper: tuple[str, ...] = (), data: Path | None = None) -> None:
        """`data`: a file that another one has saved, with which it begins."""
        self._directory = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
        if data:
            shutil.copy(data, self._directory / DATA)
        path = self._directory / "redis.sock"
        command = [*wrapper, shutil.which("redis-server") or "redis-server", "--port", 0, "--unixsocket", path, "--save", "", "--dir", self._directory, *options]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        self.connection = self._connected(path)
        self.call: Callable[..., object] = self.connection
        self.version, text = library()
        self.call("FUNCTION", "LOAD", "REPLACE", text)

    def _connected(self, path: Path) -> Connection:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                connection = Connection(path)
                connection("PING")
                return connection
            except (OSError, RedisError):
                time.sleep(0.02)  # it is not there yet, or is loading
        raise RuntimeError(f"redis-server did not start: {(self._directory / 'log').read_text()[-500:]}")

    def save(self) -> Path:
        """Writes everything into a file, which goes with the server."""
        self.call("SAVE")
        return self._directory / DATA

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class DumpingRedis(Redis):
    """A server that counts the instructions of each FCALL by itself, and begins with what another one has saved."""

    def __init__(self, data: Path) -> None:
        self._profiles = Path(tempfile.mkdtemp(prefix="holdfast-callgrind-"))
        self._dumps = 0
        options = ("--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={COUNTED}", f"--dump-after={COUNTED}")
        super().__init__(wrapper=("valgrind", "-q", *options, f"--callgrind-out-file={self._profiles}/out"), data=data)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        shutil.rmtree(self._profiles, ignore_errors=True)

    def instructions_of(self, words: tuple[object, ...]) -> tuple[int, object]:
        """Those of one FCALL, and its answer."""
        answer = self.call(*words)
        self._dumps += 1
        return _total(self._profiles / f"out.{self._dumps}"), answer


def _total(profile: Path) -> int:
    """The instructions that a profile counts."""
    found = re.search(r"^(?:totals|summary): (\d+)", profile.read_text(errors="replace"), re.MULTILINE)
    profile.unlink()
    if not found:
        raise RuntimeError("callgrind counted nothing")
    return int(found[1])


class CountedRedis(Redis):
    """A server whose instructions within FCALL can be counted. While they are not, it runs some five times as slow as by itself."""

    def __init__(self) -> None:
        self._profiles = Path(tempfile.mkdtemp(prefix="holdfast-callgrind-"))
        self._dumps = 0
        options = ("--tool=callgrind", "--collect-atstart=no", "--instr-atstart=no", f"--toggle-collect={COUNTED}")
        super().__init__(wrapper=("valgrind", "-q", *options, f"--callgrind-out-file={self._profiles}/out"))

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        shutil.rmtree(self._profiles, ignore_errors=True)

    def counting(self, is_on: bool) -> None:
        self._control("-i", "on" if is_on else "off")

    def start(self) -> None:
        """Instructions count from now on."""
        self._control("-z")

    def instructions(self) -> int:
        """The instructions of calls since `start`."""
        self._control("-d")
        self._dumps += 1
        return _total(self._profiles / f"out.{self._dumps}")

    def _control(self, *words: str) -> None:
        done = subprocess.run(["callgrind_control", *words, str(self.pid)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"callgrind_control {' '.join(words)} failed: {done.stderr.strip()}")
