// redlock on one Redis: PORT PROCESS CLIENTS WARM_S WINDOW_S. Each client locks a name of its own at random and unlocks it. Prints one line of JSON.

import Redis from 'ioredis';
import Redlock from 'redlock';

const [port, number, clients, warm, window] = process.argv.slice(2).map(Number);
const TTL_MS = 30_000;
const NAMES = 100_000;

const began = performance.now();
const from = began + warm * 1000;
const until = from + window * 1000;
const took = [];

async function client(which) {
    const redis = new Redis(port, '127.0.0.1');
    const locks = new Redlock([redis], { retryCount: 0 });
    for (;;) {
        const asked = performance.now();
        if (asked >= until) break;
        const lock = await locks.lock(`lock:${number}:${which}:${Math.floor((Math.random() * NAMES) / clients)}`, TTL_MS);
        await lock.unlock();
        const done = performance.now();
        if (done >= from && done < until) took.push((done - asked) * 1000);
    }
    redis.disconnect();
}

await Promise.all(Array.from({ length: clients }, (_, which) => client(which)));
took.sort((a, b) => a - b);
const quantile = (q) => Math.round(took[Math.floor((took.length - 1) * q)]);
console.log(JSON.stringify({ pairs: took.length, seconds: window, p50_us: quantile(0.5), p99_us: quantile(0.99) }));
