"""The peers, doing the same: reserve one name, release it."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .rounds import Sample, Samples, alternate, load
from .servers import ROOT, Redis, Server, Servers, free_port

CLIENTS = (1, 16, 64)
WARM_S = 0.5
SCRIPTS = ROOT / "bench/peers"
PYTHON = SCRIPTS / ".venv/bin/python"
ZOOKEEPER = Path("/usr/share/java/zookeeper.jar")

PER_CALL = "of each call where the generator is the client"
PER_PAIR = "of whole pairs with redis-py, redlock and kazoo, whose clients are programs of their own (of the slower one, where there are two)"
NO_EVENTS = "events, fences, history, limits, who holds it"
NO_ORDER = "credentials, fences, limits; its events are text without order or resume"


@dataclass
class Peer:
    name: str
    how: str
    lacks: str
    latency: str
    run: Callable[[int, float], Sample]
    """With so many clients, for so many seconds."""


def measure(servers: Servers, rounds: int, window_s: float) -> tuple[list[Peer], dict[str, Samples], list[str]]:
    """The peers that are here, their runs per number of clients, and a line for each that is not."""
    print("peers", file=sys.stderr)
    peers, absent = present(servers)
    samples = {}
    for clients in CLIENTS:
        print(f"{clients} clients", file=sys.stderr)
        samples[str(clients)] = alternate(rounds, {peer.name: lambda peer=peer: peer.run(clients, window_s) for peer in peers})
    return peers, samples, absent


def present(servers: Servers) -> tuple[list[Peer], list[str]]:
    setup, redis = servers.setup(), servers.redis()
    peers = [
        Peer("holdfast", "HTTP, one replica", "", PER_CALL, through("holdfast", setup.replica, "--key", setup.key)),
        Peer("raw EVALSHA", "the reference pair, no HTTP", NO_ORDER, PER_CALL, through("redis", redis)),
    ]
    absent = []

    def peer(here: bool, what: str, make: Callable[[], list[Peer]]) -> None:
        if here:
            peers.extend(make())
        else:
            absent.append(f"{what} is not installed; `make bench-tools` installs it")
            print(f"bench: {absent[-1]}", file=sys.stderr)

    peer(bool(shutil.which("webdis")), "webdis", lambda: [webdis(servers, redis)])
    peer(bool(shutil.which("etcd")), "etcd", lambda: etcd(servers))
    peer(ZOOKEEPER.exists() and bool(shutil.which("java")) and PYTHON.exists(), "ZooKeeper with kazoo", lambda: zookeeper(servers))
    peer((SCRIPTS / "node_modules/redlock").exists() and bool(shutil.which("node")), "redlock", lambda: [redlock(redis)])
    peer(PYTHON.exists(), "redis-py", lambda: [redis_py(redis)])
    return peers, absent


def through(kind: str, server: Server, *options: object) -> Callable[[int, float], Sample]:
    """A peer that the generator speaks to."""

    def run(clients: int, window_s: float) -> Sample:
        sample = load(kind, server, "--clients", clients, "--warm-s", WARM_S, "--window-s", window_s, *options, pids=(server.pid,))
        return {**sample, "pairs_per_s": sample["requests_per_s"] / 2}

    return run


def by_itself(*command: object) -> Callable[[int, float], Sample]:
    """A peer with clients in its own language: in two processes where there are enough of them, since one would be the limit."""

    def run(clients: int, window_s: float) -> Sample:
        outputs = shares([*map(str, command)], clients, window_s)
        slowest = {quantile: max(one[quantile] for one in outputs) for quantile in ("p50_us", "p99_us")}
        pairs_per_s = sum(one["pairs"] / one["seconds"] for one in outputs)
        return {**slowest, "pairs_per_s": pairs_per_s, "requests_per_s": 2 * pairs_per_s}

    return run


def shares(command: list[str], clients: int, window_s: float) -> list[Sample]:
    """What each process says whose clients are a share of so many."""
    each = [clients] if clients == 1 else [clients - clients // 2, clients // 2]
    words = [[*command, str(number), str(share), str(WARM_S), str(window_s)] for number, share in enumerate(each)]
    running = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=SCRIPTS) for run in words]
    outputs = []
    for process in running:
        said, complaint = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{command[1]} failed: {complaint[-1000:]}")
        outputs.append(json.loads(said))
    return outputs


def webdis(servers: Servers, redis: Redis) -> Peer:
    port = free_port()
    here = {"redis_host": "127.0.0.1", "redis_port": redis.port, "http_host": "127.0.0.1", "http_port": port}
    quiet = {"daemonize": False, "verbosity": 0, "logfile": str(servers.dir / "webdis.log")}
    file = servers.dir / "webdis.json"
    file.write_text(json.dumps({**here, **quiet, "database": 0, "threads": 2, "pool_size": 20}))
    server = servers.listening(Server, port, "webdis", file)
    scripts = []
    for name in ("reserve", "release"):
        text = (ROOT / f"bench/lua/{name}.lua").read_text()
        redis.ask("SCRIPT", "LOAD", text)
        scripts.append(hashlib.sha1(text.encode()).hexdigest())
    return Peer("webdis", "HTTP, EVALSHA of the reference pair", NO_ORDER, PER_CALL, through("webdis", server, "--scripts", *scripts))


def start_etcd(servers: Servers) -> Server:
    port, other = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{other}"
    words = ["etcd", "--data-dir", servers.dir / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client, "--log-level", "error"]
    words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    return servers.listening(Server, port, *words)


def etcd(servers: Servers) -> list[Peer]:
    server = start_etcd(servers)
    lease = server.call("POST", "/v3/lease/grant", body={"TTL": "3600"})[1]["ID"]
    lacks = "limits, pools, trees; a lease per name would cost a third call. It does write to disk before it answers, and has revisions and a watch"
    return [
        Peer("etcd, lock API", "JSON gateway, one lease for all", lacks, PER_CALL, through("etcd", server, "--lease", lease)),
        Peer("etcd, transactions", "JSON gateway, put if absent and delete", lacks + "; no time to live here", PER_CALL, through("etcd", server)),
    ]


def start_zookeeper(servers: Servers) -> int:
    port = free_port()
    file = servers.dir / "zoo.cfg"
    here = f"dataDir={servers.dir}/zookeeper\nclientPort={port}\nclientPortAddress=127.0.0.1\n"
    file.write_text(f"tickTime=2000\n{here}maxClientCnxns=0\nadmin.enableServer=false\n")
    options = [f"-Dzookeeper.log.dir={servers.dir}", "-Dzookeeper.root.logger=ERROR,CONSOLE", "-Xmx1g"]
    return servers.listening(Server, port, "java", *options, "-cp", f"/etc/zookeeper/conf:{ZOOKEEPER}", "org.apache.zookeeper.server.quorum.QuorumPeerMain", file).port


def zookeeper(servers: Servers) -> list[Peer]:
    port = start_zookeeper(servers)
    run = lambda what: by_itself(PYTHON, "zookeeper.py", port, what)
    lacks = "a time to live (a session instead), history, limits, pools. It does write to disk before it answers, and has fences (zxid) and watches"
    return [
        Peer("ZooKeeper, Lock", "kazoo's recipe", lacks, PER_PAIR, run("lock")),
        Peer("ZooKeeper, create", "kazoo, an ephemeral node made and deleted", lacks, PER_PAIR, run("create")),
    ]


def redlock(redis: Redis) -> Peer:
    return Peer("redlock", "node with ioredis, straight to one Redis", NO_EVENTS, PER_PAIR, by_itself("node", "redlock.js", redis.port))


def redis_py(redis: Redis) -> Peer:
    return Peer("redis-py Lock", "asyncio, straight to Redis", NO_EVENTS, PER_PAIR, by_itself(PYTHON, "redis_py_lock.py", redis.port))
