#!/usr/bin/env python3
"""Event streams side by side: the floor, nchan, plain poem and Holdfast, in turn on one machine, over loopback.

    bench/streams.py                      # all parts, five rounds each: under a quarter of an hour
    bench/streams.py e1 e5                # only these
    bench/streams.py --rounds 1 --seconds 3 e9

Prints a table with the goals beside the figures, and, with --runs FILE, keeps every run as a line of JSON. What is measured belongs to
the server's own processes, never to Redis. Only the standard library is used; every server is ended by its own process id.
"""

import argparse
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "bench/target/release"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
ADMIN_KEY = "only-of-this-run"
os.environ["PATH"] += ":/usr/sbin"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, state, patience_s=20.0):
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        found = state()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"bench: in vain: {what}")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


class Server:
    """A server on a port of its own, for as long as the `with` lasts."""

    name, subscribe, publish, key = "", "/sub", "/pub", None

    def __init__(self, args):
        self.args, self.processes, self.port = args, [], free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.dir = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
        try:
            self.begin()
            wait_for(f"{self.name} listens", lambda: listens(self.port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, command, **settings):
        log = open(self.dir / "log", "ab")
        process = subprocess.Popen(
            [str(word) for word in command], env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir
        )
        self.processes.append(process)
        return process

    def pids(self):
        return [self.processes[0].pid]

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def load(self, **options):
        """Runs sse-load against it; one run per rate."""
        options = {"addr": self.address, "sub": self.subscribe, "pub": self.publish, "pids": ",".join(map(str, self.pids()))} | options
        if self.key and "keys" not in options:
            options["key"] = self.key
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        done = subprocess.run([BUILT / "sse-load", *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"bench: {self.name}: {done.stderr.strip()[-800:]}\n{(self.dir / 'log').read_text()[-800:]}")
        runs = [json.loads(line) for line in done.stdout.splitlines()]
        for run in runs:
            print(".", end="", file=sys.stderr, flush=True)
            keep_run({"server": self.name, **{name: value for name, value in options.items() if name not in ("key", "pids")}, **run})
        return runs


class Floor(Server):
    name = "floor"

    def begin(self):
        self.start([BUILT / "sse-limit", "--addr", self.address])


class Poem(Server):
    name = "poem"

    def begin(self):
        self.start([BUILT / "sse-poem", self.address])


class PrivateRedis:
    """A redis-server without persistence, on a port of its own."""

    def __init__(self, server):
        self.port = free_port()
        self.process = server.start(["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--maxclients", "4000"])
        wait_for("redis listens", lambda: listens(self.port))

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=True).stdout

    def commands(self):
        """How many commands clients have sent that may have been about a stream. What scripts do inside is not counted."""
        calls = dict(line.split(":", 1) for line in self.ask("info", "commandstats").splitlines() if line.startswith("cmdstat_"))
        count = lambda name: int(calls.get(f"cmdstat_{name}", "calls=0,").split(",")[0].split("=")[1])
        return sum(count(name) for name in ("fcall", "eval", "get", "subscribe"))


class Nchan(Server):
    """nginx with Debian's nchan, one worker, channels in its memory."""

    name, upstream, passing = "nchan", "", ""

    def begin(self):
        (self.dir / "nginx.conf").write_text(
            f"""
load_module {NCHAN};
daemon off; worker_processes 1; worker_rlimit_nofile {files()}; pid nginx.pid; error_log stderr crit;
events {{ worker_connections {files()}; }}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  keepalive_requests 100000000; {self.upstream}
  server {{
    listen {self.address} backlog=4096;
    location /sub {{ nchan_subscriber eventsource; nchan_channel_id all; nchan_subscriber_first_message newest; {self.passing} }}
    location /pub {{ nchan_publisher; nchan_channel_id all; nchan_message_timeout 10s; nchan_message_buffer_length 4000; {self.passing} }}
  }}
}}"""
        )
        self.nginx = self.start(["nginx", "-p", self.dir, "-c", self.dir / "nginx.conf"])

    def pids(self):
        return [self.nginx.pid, *wait_for("nginx has a worker", lambda: children_of(self.nginx.pid))]


class NchanRedis(Nchan):
    """The same, with its messages in Redis."""

    name, passing = "nchan+redis", "nchan_redis_pass store;"

    def begin(self):
        redis = PrivateRedis(self)
        self.upstream = f"upstream store {{ nchan_redis_server redis://127.0.0.1:{redis.port}; }}"
        super().begin()


class Holdfast(Server):
    name, subscribe, publish = "holdfast", "/api/v1/events", "/api/v1/events"
    replicas = 1

    def begin(self):
        self.redis = PrivateRedis(self)
        self.ports = [self.port, *(free_port() for _ in range(self.replicas - 1))]
        self.serving = [
            self.start(
                [self.args.binary, "serve"],
                HOLDFAST_LISTEN=f"127.0.0.1:{port}",
                HOLDFAST_REDIS_URL=f"redis://127.0.0.1:{self.redis.port}",
                HOLDFAST_ADMIN_KEY=ADMIN_KEY,
                HOLDFAST_LOG="warn",
                HOLDFAST_DRAIN_SECONDS="1",
            )
            for port in self.ports
        ]
        for port in self.ports:
            wait_for("holdfast listens", lambda: listens(port))
            wait_for("holdfast is ready", lambda: self.ready(port))
        self.key = self.tenant()

    def pids(self):
        return [self.serving[0].pid]

    @staticmethod
    def ready(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200

    def tenant(self):
        return self.tenants(1)[0]

    def tenants(self, count):
        """The keys of so many new tenants, made over a few connections that stay."""

        def make(part):
            connection = http.client.HTTPConnection("127.0.0.1", self.ports[-1], timeout=20)
            keys = []
            for _ in range(part):
                body = json.dumps({"name": "bench", "tier": "Enterprise"})
                connection.request("POST", "/api/v1/admin/tenants", body, {"X-Admin-Key": ADMIN_KEY, "Content-Type": "application/json"})
                answer = connection.getresponse()
                told = answer.read()
                if answer.status != 201:
                    raise SystemExit(f"bench: a tenant could not be made: {told.decode()}")
                keys.append(json.loads(told)["apiKey"])
            return keys

        parts = [count // 4 + (number < count % 4) for number in range(4)]
        with ThreadPoolExecutor(4) as pool:
            return [key for keys in pool.map(make, parts) for key in keys]


class TwoHoldfasts(Holdfast):
    """Two replicas: readers are at the first, which is measured; publishers at the second."""

    replicas = 2

    def load(self, **options):
        return super().load(**{"pub_addr": f"127.0.0.1:{self.ports[1]}"} | options)


RUNS = []


def keep_run(run):
    RUNS.append(run)


class Bench:
    """The parts. What several need is run once."""

    def __init__(self, args):
        self.args, self.rows, self.cache = args, [], {}

    def row(self, part, measure, value, milestone, aim, note=""):
        self.rows.append((part, measure, value, milestone, aim, note))

    def once(self, name, run):
        if name not in self.cache:
            print(f"\n{name} ", end="", file=sys.stderr, flush=True)
            self.cache[name] = run()
        return self.cache[name]

    def in_turn(self, kinds, **options):
        """Each kind of server once a round; its runs."""
        runs = {kind.name: [] for kind in kinds}
        for _ in range(self.args.rounds):
            for kind in kinds:
                with kind(self.args) as server:
                    runs[kind.name] += server.load(**options)
        return runs

    def fanout(self):
        kinds = [Floor, Nchan, NchanRedis, Poem, Holdfast] if NCHAN.exists() else [Floor, Poem, Holdfast]
        return self.once("fan-out", lambda: self.in_turn(kinds, n=self.args.readers, rates=200, secs=self.args.seconds))

    def over(self, runs, field, ours, theirs):
        """The median of the ratios of runs of one round."""
        return median(one[field] / max(other[field], 1e-9) for one, other in zip(runs[ours], runs[theirs]))

    def e1(self):
        """CPU per delivery over the floor's"""
        runs = self.fanout()
        cpu = lambda name: median(run["cpu_us_per_delivery"] for run in runs[name])
        note = f"{cpu('holdfast'):.2f} us over {cpu('floor'):.2f} us; plain poem {cpu('poem'):.2f} us; lost {total(runs['holdfast'], 'lost')}"
        self.row("E1", "replica CPU per delivery over the floor's", self.over(runs, "cpu_us_per_delivery", "holdfast", "floor"), "1.15", "0.7", note)

    def e2(self):
        """CPU per delivery over nchan's"""
        runs = self.fanout()
        for name in ("nchan", "nchan+redis"):
            if name in runs:
                behind = 100 * (1 - median(run["deliveries_per_s"] / run["wanted_per_s"] for run in runs[name]))
                note = f"{name} {median(run['cpu_us_per_delivery'] for run in runs[name]):.2f} us, {max(behind, 0):.0f} % behind"
                self.row("E2", f"the same over {name}'s", self.over(runs, "cpu_us_per_delivery", "holdfast", name), "0.5", "0.3", note)

    def e3(self):
        """the greatest deliveries per second with nothing lost, over nchan's"""

        def greatest(kind, rates):
            best = 0.0
            with kind(self.args) as server:
                for rate in rates:
                    run = server.load(n=5_000, rates=rate, secs=max(self.args.seconds, 4), settle=0.5)[0]
                    if run["lost"] or run["closed"] or run["deliveries_per_s"] < 0.9 * run["wanted_per_s"]:
                        break
                    best = max(best, run["deliveries_per_s"])
            return best

        def run():
            ours = [greatest(Holdfast, [50, 100, 150, 200, 250, 300]) for _ in range(min(self.args.rounds, 2))]
            theirs = [greatest(Nchan, [4, 8, 12, 16, 20, 25]) for _ in range(min(self.args.rounds, 2))] if NCHAN.exists() else []
            return ours, theirs

        ours, theirs = self.once("greatest rate", run)
        if theirs:
            self.row("E3", "greatest deliveries/s with nothing lost, 5,000 readers, over nchan's", max(ours) / max(max(theirs), 1), "10", "15", f"{max(ours):.0f} over {max(theirs):.0f}")
        else:
            self.row("E3", "greatest deliveries/s with nothing lost, 5,000 readers", max(ours), "", "", "no nchan here")

    def e4(self):
        """memory per idle stream"""
        count = min(15_000, files() - 500)

        def run():
            kinds = [kind for kind in (Holdfast, Nchan) if kind is Holdfast or NCHAN.exists()]
            runs = {kind.name: [] for kind in kinds}
            for _ in range(min(self.args.rounds, 3)):
                for kind in kinds:
                    with kind(self.args) as server:
                        runs[kind.name] += server.load(n=count, rates=1, secs=1, settle=4)
            return runs

        runs = self.once("idle streams", run)
        kb = lambda name: median(run["idle_kb_per_stream"] for run in runs[name])
        note = f"{count} streams; idle CPU {median(run['idle_cpu_pct'] for run in runs['holdfast']):.1f} %" + (f"; nchan {kb('nchan'):.1f} kB" if "nchan" in runs else "")
        self.row("E4", "user memory per idle stream, kB", kb("holdfast"), "10", "4", note)

    def e5(self):
        """latencies over the floor's"""
        runs = self.fanout()
        ms = lambda name, field: median(run[field] for run in runs[name]) / 1e3
        for field, word in (("p50_us", "p50"), ("p99_us", "p99")):
            note = f"{ms('holdfast', field):.1f} ms over {ms('floor', field):.1f} ms; plain poem {ms('poem', field):.1f} ms"
            self.row("E5", f"{word} from publish to receipt over the floor's", self.over(runs, field, "holdfast", "floor"), "1.5", "1.2", note)

    def e6(self):
        """a filter that passes 1 %"""

        def run():
            pairs = []
            for _ in range(self.args.rounds):
                with Holdfast(self.args) as server:
                    all_of = server.load(n=self.args.readers, rates=200, secs=self.args.seconds)[0]
                    few = server.load(n=self.args.readers, rates=200, secs=self.args.seconds, rare=100, expect_rare="yes", sub="/api/v1/events?types=score")[0]
                    pairs.append((all_of, few))
            return pairs

        pairs = self.once("filter", run)
        ratio = median(few["cpu_us_per_event"] / all_of["cpu_us_per_event"] for all_of, few in pairs)
        note = f"{median(few['cpu_us_per_event'] for _, few in pairs):.0f} us over {median(all_of['cpu_us_per_event'] for all_of, _ in pairs):.0f} us; lost {sum(few['lost'] for _, few in pairs):.0f}"
        self.row("E6", "filter passing 1 %: CPU per event over unfiltered", ratio, "0.1", "0.03", note)

    def e7(self):
        """ten thousand tenants with one reader each"""
        count = min(10_000, files() - 500)

        def run():
            runs = []
            for _ in range(min(self.args.rounds, 3)):
                with TwoHoldfasts(self.args) as server:
                    keys = server.dir / "keys"
                    keys.write_text("\n".join(server.tenants(count)))
                    one = server.load(n=self.args.readers, rates=200, secs=self.args.seconds)[0]
                    each = server.load(n=count, keys=keys, rates=2_000, secs=self.args.seconds, pubs=8)[0]
                    runs.append((one, each))
            return runs

        runs = self.once("tenants", run)
        note = f"{count} tenants; {median(each['cpu_us_per_delivery'] for _, each in runs):.1f} us; p99 {median(each['p99_us'] for _, each in runs) / 1e3:.1f} ms; lost {sum(each['lost'] for _, each in runs):.0f}; {median(each['idle_kb_per_stream'] for _, each in runs):.1f} kB each"
        self.row("E7", "a reader for each tenant, 2,000 events/s: CPU per delivery over one tenant's", median(each["cpu_us_per_delivery"] / one["cpu_us_per_delivery"] for one, each in runs), "1.5", "1.2", note)

    def e8(self):
        """a storm of returning readers"""
        count = min(15_000, files() - 500)

        def run():
            runs = []
            for _ in range(min(self.args.rounds, 3)):
                with Holdfast(self.args) as server:
                    # What the events and the replica itself ask without a storm is no reconnect's.
                    calm_from = server.redis.commands()
                    calm = server.load(n=count, rates=20, secs=12, ids="yes", settle=0.5)[0]
                    calm_asked = server.redis.commands() - calm_from
                with Holdfast(self.args) as server:
                    asked_from = server.redis.commands()
                    storm = server.load(n=count, rates=20, secs=12, ids="yes", settle=0.5, storm="yes")[0]
                    asked = server.redis.commands() - asked_from
                runs.append((storm, max(asked - calm_asked, 0) / count, calm))
            return runs

        runs = self.once("storm", run)
        note = f"{count} streams, 20 events/s; refused {sum(storm['refused_readers'] for storm, *_ in runs):.0f}"
        self.row("E8", "all are back at once: until all are live, s", median(storm["storm_ms"] for storm, *_ in runs) / 1e3, "10", "5", note)
        self.row("E8", "Redis commands per reconnect", median(asked for _, asked, _ in runs), "0.1", "0.02")
        self.losses("E8", [storm for storm, *_ in runs])

    def e9(self):
        """cuts of the subscription under load"""
        cuts = self.args.cuts

        def run():
            with TwoHoldfasts(self.args) as server:
                pub_sub = lambda: [line.split()[0].split("=")[1] for line in server.redis.ask("client", "list", "type", "pubsub").splitlines() if line]
                done, stop = [], threading.Event()

                def cut():
                    chance = random.Random(9)
                    while len(done) < cuts and not stop.is_set():
                        time.sleep(chance.uniform(0.01, 0.12))
                        for client in pub_sub():
                            if server.redis.ask("client", "kill", "id", client).strip() == "1":
                                done.append(client)

                cutting = threading.Thread(target=cut)
                # The readers' connections come first, then the cuts; the load goes on until the last of them is mended.
                timer = threading.Timer(2, cutting.start)
                timer.start()
                loads = []
                while len(done) < cuts:
                    loads += server.load(n=50, rates=300, secs=20, ids="yes", settle=0.5)
                stop.set()
                cutting.join()
            return loads, len(done)

        loads, done = self.once("cuts", run)
        note = f"{done} cuts, 50 readers, {total(loads, 'sent')} events; told to look again: {total(loads, 'resets')}"
        self.losses("E9", loads, note)

    def e10(self):
        """readers that never read"""

        def run():
            pairs = []
            for _ in range(self.args.rounds):
                with Holdfast(self.args) as server:
                    alone = server.load(n=self.args.readers, rates=200, secs=self.args.seconds, ids="yes")[0]
                with Holdfast(self.args) as server:
                    with_deaf = server.load(n=self.args.readers, rates=200, secs=self.args.seconds, ids="yes", deaf=50)[0]
                pairs.append((alone, with_deaf))
            return pairs

        pairs = self.once("readers that never read", run)
        grown = lambda run: run["resident_loaded_kb"] - run["resident_idle_kb"]
        kb = median((grown(deaf) - grown(alone)) / 50 for alone, deaf in pairs)
        self.row("E10", "memory per reader that never reads, KiB", kb, "320", "128", f"lost by the others: {sum(deaf['lost'] for _, deaf in pairs):.0f}")
        ratio = median(deaf["p99_us"] / alone["p99_us"] for alone, deaf in pairs)
        note = f"{median(deaf['p99_us'] for _, deaf in pairs) / 1e3:.1f} ms over {median(alone['p99_us'] for alone, _ in pairs) / 1e3:.1f} ms"
        self.row("E10", "p99 of the others over without them", ratio, "1.2", "1.05", note)

    def losses(self, part, runs, note=""):
        self.row(part, "lost", total(runs, "lost"), "0", "0", note)
        self.row(part, "doubled", total(runs, "doubled"), "0", "0", f"readers whose set of ids differs from what was published: {total(runs, 'unequal_readers')}")

    def table(self):
        lines = ["| | measure | here | milestone | aim | |", "|---|---|---|---|---|---|"]
        for part, measure, value, milestone, aim, note in self.rows:
            shown = f"{value:.0f}" if isinstance(value, int) or value >= 1000 else f"{value:.2f}"
            lines.append(f"| {part} | {measure} | {shown} | {milestone} | {aim} | {note} |")
        return "\n".join(lines)


PARTS = [f"e{number}" for number in range(1, 11)]


def median(values):
    return statistics.median(values)


def total(runs, field):
    return int(sum(run[field] for run in runs))


def files():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def steal():
    """Time that this machine wanted to run and was not let, in ticks, and all of its time."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return fields[7], sum(fields[:8])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help="e1 ... e10; all unless told")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each run")
    parser.add_argument("--readers", type=int, default=1_000, help="of the parts that do not say how many")
    parser.add_argument("--cuts", type=int, default=1_000, help="of the subscription, in e9")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/holdfast")
    parser.add_argument("--runs", type=Path, help="where every run goes as a line of JSON")
    args = parser.parse_args()
    args.binary = args.binary.resolve()
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}: {' '.join(PARTS)}")
    for program in (args.binary, BUILT / "sse-load", BUILT / "sse-limit", BUILT / "sse-poem"):
        if not program.exists():
            parser.error(f"{program} is not there: cargo build --release --locked, here and in bench/")
    if not NCHAN.exists():
        print("bench: no nchan here (apt-get install libnginx-mod-nchan); going on without", file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files(), files()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench, began, (stolen, ticks) = Bench(args), time.monotonic(), steal()
    for part in args.parts or PARTS:
        getattr(bench, part)()
    (stolen_after, ticks_after) = steal()
    print(file=sys.stderr)
    print(bench.table())
    print(
        f"\n{args.rounds} rounds of {args.seconds:g} s, {os.cpu_count()} cores, {time.monotonic() - began:.0f} s in all; "
        f"stolen from this machine {100 * (stolen_after - stolen) / max(ticks_after - ticks, 1):.1f} %, load {os.getloadavg()[0]:.1f}"
    )
    if args.runs:
        args.runs.write_text("".join(json.dumps(run, default=str) + "\n" for run in RUNS))


if __name__ == "__main__":
    main()
