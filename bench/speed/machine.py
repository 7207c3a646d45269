"""The machine: description, present speed, and the share that the host gave to others."""

import os
import platform
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

CAL_LOOPS = 200_000


def host() -> dict[str, str]:
    """What a reader needs to compare with another machine: no names, no paths."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    return {
        "processor": f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}",
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "redis-server": _version("redis-server", "--version", r"v=([\d.]+)"),
        "python": platform.python_version(),
    }


def described(holdfast: Path) -> dict[str, str]:
    """The same, and the programs that are measured."""
    return {
        **host(),
        "nginx": _version("nginx", "-v", r"nginx/([\d.]+)"),
        "holdfast": _version(str(holdfast), "--version", r"([\d.]+)"),
    }


def _version(program: str, option: str, pattern: str) -> str:
    try:
        said = subprocess.run([program, option], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    found = re.search(pattern, said.stdout + said.stderr)
    return found[1] if found else "unknown"


def cal_ms() -> float:
    """How long a fixed loop takes now: when this rises, every figure does."""
    began, total = time.perf_counter(), 0
    for n in range(CAL_LOOPS):
        total += n & 7
    return (time.perf_counter() - began) * 1e3


class Steal:
    """The share of both cores' time, in per cent, that the host gave to others since this was made."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return fields[7], sum(fields)

    def percent(self) -> float:
        (stolen, total), (stolen_before, total_before) = self._read(), self._before
        return 100 * (stolen - stolen_before) / max(total - total_before, 1)


@contextmanager
def apart(redis_pid: int, others: list[int]) -> Iterator[None]:
    """Gives Redis a core of its own, and these processes, ourselves and what we start the rest. Redis counts its scripts by the clock, so a script
    that has to let another process run would seem dearer than it is."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        yield
        return

    def settle(redis: set[int], rest: set[int]) -> None:
        os.sched_setaffinity(redis_pid, redis)
        os.sched_setaffinity(0, rest)
        for pid in others:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), rest)

    settle({cores[0]}, set(cores[1:]))
    try:
        yield
    finally:
        settle(set(cores), set(cores))


def cpu_s(pid: int) -> float:
    """The CPU time that the threads of a process have used, in seconds."""
    spent_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent_ns += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass  # a thread that has just ended
    return spent_ns / 1e9


def resident_mib(pid: int) -> float:
    """Resident memory, that of the program's own file included."""
    return int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
