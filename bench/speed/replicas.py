"""S8 and S10: three replicas, and the start of one."""

import subprocess
import sys
import time

from .rounds import Row, Samples, alternate, median, pairs, ratio
from .servers import Server, Servers, free_port, until

STARTS = 20


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    """S8. Redis has its own server for one replica and for three, so that neither sees the other's sweeps."""
    print("S8: three replicas behind nginx", file=sys.stderr)
    one, three = servers.setup(), servers.setup(replicas=3)
    before_one, before_three = servers.nginx(one.replicas), servers.nginx(three.replicas)
    window = ("--window-s", window_s)
    samples = alternate(
        rounds,
        {
            "one replica": lambda: pairs(one, *window),
            "one behind nginx": lambda: pairs(one, *window, through=before_one),
            "three behind nginx": lambda: pairs(three, *window, through=before_three),
        },
    )
    three_samples = samples["three behind nginx"]
    print("S8: the same, at one rate", file=sys.stderr)
    rate = median(three_samples, "requests_per_s") / 2
    paced = alternate(
        rounds,
        {
            "one behind nginx": lambda: pairs(one, *window, "--rate", rate, through=before_one),
            "three behind nginx": lambda: pairs(three, *window, "--rate", rate, through=before_three),
        },
    )
    what = "Redis CPU per request, three replicas behind nginx over "
    at_one_rate = ratio("S8", what + "one behind it, at the same rate", paced["three behind nginx"], paced["one behind nginx"], "redis_cpu_us", "us", "S8")
    at_one_rate.note += f", {rate:,.0f} requests/s"
    rows = [
        at_one_rate,
        ratio("S8", what + "one behind it, as many as they can", three_samples, samples["one behind nginx"], "redis_cpu_us", "us", "S8"),
        ratio("S8", what + "one without it, as many as they can", three_samples, samples["one replica"], "redis_cpu_us", "us", "S8"),
        ratio("S8", "the same of the scripts alone", three_samples, samples["one replica"], "script_us", "us"),
        ratio("S8", "requests/s, three behind nginx over one without it", three_samples, samples["one replica"], "requests_per_s", "per s"),
    ]
    return rows, {"replicas": samples, "replicas at one rate": paced}


def start(servers: Servers, rounds: int, _window_s: float) -> tuple[list[Row], dict[str, Samples]]:
    """S10. From the moment before the process is made until `/readyz` answers 200."""
    print("S10: start to ready", file=sys.stderr)
    redis = servers.redis()
    taken_ms = []
    for _ in range(max(STARTS, rounds)):
        port = free_port()
        replica = Server(port, 0)

        def ready() -> bool:
            try:
                return replica.call("GET", "/readyz")[0] == 200
            except ConnectionError:
                return False

        began = time.perf_counter()
        process = subprocess.Popen([servers.holdfast, "serve"], env=servers.environment(redis, port, None), cwd=servers.dir, stderr=subprocess.DEVNULL)
        try:
            until("a replica ready", ready, every_s=0.001)
            taken_ms.append((time.perf_counter() - began) * 1e3)
        finally:
            process.kill()
            process.wait()
    row = Row("S10", f"start to ready with Redis there, {len(taken_ms)} starts", taken_ms, "S10", unit=" ms")
    return [row], {"start": {"start": [{"ready_ms": ms} for ms in taken_ms]}}
