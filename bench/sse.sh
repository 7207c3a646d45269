#!/usr/bin/env bash
# Fan-out side by side: the floor, nchan, plain poem and Holdfast, one after the other, again and again.
#
#   bench/sse.sh [rounds] [readers] [rates] [seconds]      # 5 rounds of 1,000 readers at 200 events/s for 10 s, unless told
#
# Prints one line of JSON per run, with the server's name before it, and in the end the medians of the ratios to the floor and to
# nchan, each of runs of one round. Loopback only; every server is ended by its own process id.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=${1:-5} readers=${2:-1000} rates=${3:-200} seconds=${4:-10}
work=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    pids=()
}
trap 'stop; rm -rf "$work"' EXIT

cargo build --release --locked >&2
(cd bench && cargo build --release --locked >&2)
built=bench/target/release
ulimit -n "$(ulimit -Hn)"

# What is measured belongs to the server's own processes, never to Redis: that is reported beside it.
load() { # name, server pids, arguments of sse-load
    local name=$1 of=$2
    shift 2
    "$built/sse-load" --n "$readers" --rates "$rates" --secs "$seconds" --pids "$of" "$@" 2>/dev/null |
        while read -r line; do echo "$name $line"; done | tee -a "$work/runs"
}

up() { # address
    for _ in $(seq 200); do
        (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null && return
        sleep 0.05
    done
    echo "bench: nothing listens on $1" >&2
    exit 1
}

floor() {
    "$built/sse-limit" --addr 127.0.0.1:8090 &
    pids+=($!)
    up 127.0.0.1:8090
    load floor "$!" --addr 127.0.0.1:8090
    stop
}

poem() {
    "$built/sse-poem" 127.0.0.1:8091 &
    pids+=($!)
    up 127.0.0.1:8091
    load poem "$!" --addr 127.0.0.1:8091
    stop
}

# Debian's package libnginx-mod-nchan; one worker, in memory.
nchan() {
    local module=/usr/lib/nginx/modules/ngx_nchan_module.so
    if [ ! -e $module ]; then
        echo "bench: no nchan here (apt-get install libnginx-mod-nchan); going on without" >&2
        return
    fi
    cat >"$work/nginx.conf" <<CONF
load_module $module;
daemon off; worker_processes 1; worker_rlimit_nofile 30000; pid $work/nginx.pid; error_log /dev/null;
events { worker_connections 30000; }
http {
  access_log off; client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  keepalive_requests 100000000;
  server {
    listen 127.0.0.1:8092 backlog=4096;
    location /sub { nchan_subscriber eventsource; nchan_channel_id all; nchan_subscriber_first_message newest; }
    location /pub { nchan_publisher; nchan_channel_id all; nchan_message_timeout 10s; nchan_message_buffer_length 4000; }
  }
}
CONF
    PATH=$PATH:/usr/sbin nginx -p "$work" -c "$work/nginx.conf" 2>/dev/null &
    pids+=($!)
    up 127.0.0.1:8092
    load nchan "$!,$(pgrep -P "$!" | paste -sd,)" --addr 127.0.0.1:8092
    stop
}

holdfast() {
    HOLDFAST_LISTEN=127.0.0.1:8093 HOLDFAST_DATA_DIR=$work/data HOLDFAST_ADMIN_KEY=only-of-this-run HOLDFAST_LOG=warn target/release/holdfast serve 2>"$work/log" &
    local pid=$!
    pids+=("$pid")
    up 127.0.0.1:8093
    local key
    for _ in $(seq 50); do
        key=$(curl -s http://127.0.0.1:8093/api/v1/admin/tenants -H 'X-Admin-Key: only-of-this-run' -H 'Content-Type: application/json' \
            -d '{"name":"bench","tier":"Enterprise"}' | sed -n 's/.*"apiKey":"\([^"]*\)".*/\1/p')
        [ -n "$key" ] && break
        sleep 0.1
    done
    load holdfast "$pid" --addr 127.0.0.1:8093 --sub /api/v1/events --pub /api/v1/events --key "$key"
    stop
}

for _ in $(seq "$rounds"); do
    floor
    nchan
    poem
    holdfast
done

python3 - "$work/runs" <<'REPORT'
import json, statistics, sys
runs = {}
for line in open(sys.argv[1]):
    name, text = line.split(" ", 1)
    run = json.loads(text)
    run["us"] = run["srv_cpu"] * 1e4 / max(run["deliv_per_s"], 1)
    runs.setdefault((name, run["rate"]), []).append(run)
for rate in sorted({rate for _, rate in runs}):
    for name in ("floor", "nchan", "poem", "holdfast"):
        if (name, rate) not in runs:
            continue
        here = runs[name, rate]
        median = lambda field: statistics.median(run[field] for run in here)
        line = f"{name:9} rate {rate:>5} cpu/delivery {median('us'):6.2f} us  p50 {median('p50_us') / 1e3:7.1f} ms  p99 {median('p99_us') / 1e3:7.1f} ms"
        line += f"  lost {median('lost_pct'):.3f} %  idle {median('kb_per_conn_idle'):5.1f} kB"
        for peer in ("floor", "nchan"):
            pairs = [(ours, theirs) for ours, theirs in zip(here, runs.get((peer, rate), [])) if theirs["us"] and theirs["p50_us"]]
            if pairs and peer != name:
                ratio = lambda field: statistics.median(ours[field] / max(theirs[field], 1e-9) for ours, theirs in pairs)
                line += f"  | over {peer}: cpu {ratio('us'):.2f} p50 {ratio('p50_us'):.2f} p99 {ratio('p99_us'):.2f}"
        print(line)
REPORT
