import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import {
  Client,
  DeadlockError,
  Lease,
  LeaseLostError,
  NotAcquiredError,
  WaitTimeoutError,
  type Waiting,
} from "@holdfast/client";
import { type Tenant, World, eventually, held, program, waiting } from "./support.js";

let world: World;
let tenant: Tenant;
let client: Client;
/** Another client of the same tenant, at the other replica. */
let other: Client;

before(async () => (world = await World.start()));
after(() => world.close());
beforeEach(async () => {
  tenant = await world.tenant();
  [client, other] = [world.client(tenant), world.client(tenant, 1)];
});

test("a block holds the name and gives it back", async () => {
  {
    await using lease = await client.hold("db", { ttl: 30, note: "migration 7" });
    const { rows } = await client.listReservations();
    assert.deepEqual(
      rows.map((row) => [row.resource, row.requester, row.fencingToken, row.note, new Date(row.expiresAt ?? "")]),
      [["db", lease.requester, lease.fence, "migration 7", lease.expiresAt]],
    );
    assert.ok((await client.verifyFence("db", lease.fence)).valid);
    assert.ok(!lease.lost && lease.lostReason === null && !lease.signal.aborted);
    assert.ok(lease.remainingMs > 20_000 && lease.remainingMs < 30_000);
    lease.throwIfLost();
    assert.deepEqual(await held(other), ["db"]);
  }
  assert.deepEqual(await held(client), []);
});

test("what others hold is refused with who holds it", async () => {
  await using _ = await other.hold("db", { requester: "worker-1" });
  await assert.rejects(client.hold("db"), (error: unknown) => {
    assert.ok(error instanceof NotAcquiredError && !(error instanceof WaitTimeoutError));
    assert.equal(error.results[0]?.holder, "worker-1");
    assert.match(error.message, /"db" is held by "worker-1"/);
    return true;
  });
});

test("a hold waits in line and says where", async () => {
  const places: Waiting[] = [];
  const first = await other.hold("db", { ttl: 60, requester: "worker-1" });
  const served = client.hold("db", { ttl: 60, wait: 60, onWaiting: (waiting) => places.push(waiting) });
  await eventually("its place was reported", () => places.length > 0);
  assert.deepEqual([places[0]?.place, places[0]?.holder, places[0]?.resources], [1, "worker-1", ["db"]]);
  assert.equal(await waiting(other), 1);
  await first.release();
  const lease = await served;
  assert.ok(lease.fence > first.fence);
  assert.ok(lease.remainingMs > 40_000, "the time to live begins at the hand-over");
  await lease.release();
  assert.deepEqual(await lease.release(), []);
});

test("a wait in vain ends in time and leaves the line", async () => {
  await using _ = await other.hold("db");
  const begun = performance.now();
  await assert.rejects(client.hold("db", { wait: 1.2 }), WaitTimeoutError);
  const took = performance.now() - begun;
  assert.ok(took >= 1_200 && took < 5_000, `${took}`);
  assert.equal(await waiting(other), 0);
});

test("a deadlock is refused at once", async () => {
  const a = await client.hold("a", { requester: "one" });
  const b = await client.hold("b", { requester: "two" });
  const crossed = client.hold("a", { requester: "two", wait: 60 });
  await eventually("it waits for a", async () => (await waiting(client)) === 1);
  await assert.rejects(client.hold("b", { requester: "one", wait: 60 }), DeadlockError);
  await a.release();
  await (await crossed).release();
  await b.release();
});

test("under contention holds never overlap", async () => {
  let inside = 0;
  let most = 0;
  const fences: number[] = [];
  const work = async (worker: Client): Promise<void> => {
    for (let round = 0; round < 5; round += 1) {
      await using lease = await worker.hold("db", { ttl: 10, wait: 60 });
      inside += 1;
      most = Math.max(most, inside);
      fences.push(lease.fence);
      await delay(2);
      inside -= 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, number) => work(number % 2 === 0 ? client : other)));
  assert.deepEqual([most, fences.length], [1, 40]);
  assert.deepEqual(
    fences,
    [...new Set(fences)].sort((one, next) => one - next),
    "each fence is greater than the last",
  );
});

test("a lease is renewed for as long as it is needed", async () => {
  await using lease = await client.hold("db", { ttl: 6 });
  const first = Number(lease.expiresAt);
  await eventually("it is renewed twice", () => Number(lease.expiresAt) - first > 3_500);
  await assert.rejects(other.hold("db"), NotAcquiredError);
  assert.equal(lease.waiting, 0);
  await lease.renew();
  assert.ok(!lease.lost);
});

test("a lease that somebody ends aborts its signal at the next renewal", async () => {
  const lease = await client.hold("db", { ttl: 6 });
  await other.forceRelease("db", "test");
  await eventually("the loss is reported", () => lease.signal.aborted);
  assert.ok(lease.signal.reason instanceof LeaseLostError);
  assert.match(lease.lostReason ?? "", /ended by somebody else/);
  assert.equal(lease.remainingMs, 0);
  assert.throws(() => lease.throwIfLost(), LeaseLostError);
  await assert.rejects(lease.renew(), LeaseLostError);
  await assert.rejects(lease.release(), LeaseLostError);
});

test("a loss that nobody noticed is reported at the end", async () => {
  await assert.rejects(async () => {
    await using lease = await client.hold("db", { ttl: 600 });
    await other.forceRelease("db");
    assert.ok(!lease.lost, "the next renewal is far");
  }, LeaseLostError);
  const fail = async (): Promise<void> => {
    await using _ = await client.hold("db", { ttl: 600 });
    await other.forceRelease("db");
    throw new RangeError("of the block");
  };
  await assert.rejects(fail, (error: unknown) => LeaseLostError.in(error) && !(error instanceof LeaseLostError));
  const options = { ttl: 600 };
  await assert.rejects(
    client.whileHolding("db", options, () => other.forceRelease("db")),
    LeaseLostError,
  );
  const failing = async (): Promise<never> => {
    await other.forceRelease("db");
    throw new RangeError("of the work");
  };
  await assert.rejects(client.whileHolding("db", options, failing), RangeError, "an error of the work says more");
});

test("work that fails gives back, and its result is handed on", async () => {
  const fail = (): never => {
    throw new RangeError("of the work");
  };
  await assert.rejects(client.whileHolding("db", {}, fail), RangeError);
  assert.deepEqual(await held(client), []);
  assert.equal(await client.whileHolding("db", {}, (lease) => `with ${lease.resource}`), "with db");
});

test("an aborted wait leaves the line", async () => {
  await using _ = await other.hold("db", { ttl: 60 });
  const abort = new AbortController();
  const served = client.hold("db", { wait: 60, signal: abort.signal });
  await eventually("it waits", async () => (await waiting(other)) === 1);
  abort.abort(new RangeError("no longer wanted"));
  await assert.rejects(served, RangeError);
  assert.equal(await waiting(other), 0);
  await assert.rejects(client.hold("db", { wait: 60, signal: AbortSignal.timeout(300) }), { name: "TimeoutError" });
  assert.equal(await waiting(other), 0);
  await assert.rejects(client.hold("x", { signal: abort.signal }), RangeError);
});

test("what an aborted call gets late is given back", async () => {
  // A way to a replica on which what the first connection sends arrives late, also where it is closed meanwhile.
  const { hostname, port } = new URL(world.urls[0] as string);
  let connections = 0;
  const way = createServer((socket) => {
    const late = connections++ === 0 ? 400 : 0;
    const there = connect(Number(port), hostname);
    socket.on("data", (data) => setTimeout(() => there.write(data), late));
    socket.on("close", () => setTimeout(() => there.end(), late));
    there.pipe(socket);
    for (const end of [socket, there]) end.on("error", () => end.destroy());
  });
  await once(way.listen(0, "127.0.0.1"), "listening");
  try {
    const { port: there } = way.address() as AddressInfo;
    const abort = new AbortController();
    const slow = new Client({ url: `http://127.0.0.1:${there}`, key: tenant.apiKey });
    const served = slow.hold("db", { ttl: 600, signal: abort.signal });
    setTimeout(() => abort.abort(new RangeError("no longer wanted")), 100);
    await assert.rejects(served, RangeError);
    // Long enough for what was sent before to arrive after all.
    await delay(600);
    assert.deepEqual(await held(other), []);
  } finally {
    way.close();
  }
});

test("a call that is aborted as it is served gives back", async () => {
  // At every instant of the call, from before it is sent until after it is answered.
  for (let step = 0; step < 30; step += 1) {
    const abort = new AbortController();
    const served = client.hold("db", { ttl: 600, signal: abort.signal });
    const aborted = delay(step * 0.7).then(() => abort.abort());
    const lease = await served.catch(() => null);
    await aborted;
    await lease?.release();
    assert.deepEqual(await held(other), [], `aborted in step ${step}`);
  }
});

test("a failing callback gives the place up", async () => {
  await using _ = await other.hold("db");
  const onWaiting = (): never => {
    throw new RangeError("of the callback");
  };
  await assert.rejects(client.hold("db", { wait: 60, onWaiting }), RangeError);
  assert.equal(await waiting(other), 0);
});

test("a program that is interrupted gives back where it aborts its work", async () => {
  const code = `
    import { once } from "node:events";
    import { Client } from "@holdfast/client";
    const client = new Client();
    await client.whileHolding("db", { ttl: 600 }, async () => {
      const interrupted = once(process, "SIGINT");
      console.log("held");
      await interrupted;
    });
    console.log("given back");`;
  const holder = program(code, world.urls, tenant);
  await holder.line("held");
  assert.deepEqual(await held(client), ["db"]);
  holder.signal("SIGINT");
  await holder.line("given back");
  assert.equal(await holder.end(), 0);
  assert.deepEqual(await held(client), []);
});

test("groups are taken all, first or any", async () => {
  const b = await other.hold("b");
  await assert.rejects(client.hold(["a", "b", "c"]), /b: /);
  assert.deepEqual(await held(client), ["b"]);
  {
    await using first = await client.hold(["b", "c", "a"], { mode: "first" });
    assert.deepEqual([first.resources, await held(client)], [["c"], ["b", "c"]]);
  }
  {
    await using some = await client.hold(["a", "b", "c"], { mode: "any", ttl: 6 });
    assert.deepEqual(
      [some.resources, [...some.fences.keys()]],
      [
        ["a", "c"],
        ["a", "c"],
      ],
    );
    const begun = Number(some.expiresAt);
    await eventually("both are renewed", () => Number(some.expiresAt) > begun);
  }
  const all = client.hold(["a", "b"], { ttl: 60, wait: Infinity });
  await eventually("the group waits", async () => (await waiting(client)) === 1);
  await b.release();
  await (await all).release();
  assert.deepEqual(await held(client), []);
});

test("pools give slots", async () => {
  await client.register([{ name: "GPU", capacity: 3 }]);
  await using two = await client.hold("GPU", { quantity: 2 });
  await using one = await other.hold("GPU");
  assert.deepEqual([two.slots, one.slot, one.resource], [["GPU_0", "GPU_1"], "GPU_2", "GPU"]);
  await assert.rejects(other.hold("GPU"), NotAcquiredError);
});

test("a requester that holds already is no second holder", async () => {
  await using _ = await client.hold("db", { requester: "worker-1" });
  await assert.rejects(client.hold("db", { requester: "worker-1", wait: 60 }), /held by worker-1 already/);
  assert.deepEqual(await held(client), ["db"], "the first holder's reservation is not given back");
});

test("options that cannot be meant are refused", async () => {
  for (const [options, says] of [
    [{ ttl: 0 }, /ttl/],
    [{ ttl: 1.5 }, /ttl/],
    [{ wait: -1 }, /wait/],
    [{ wait: NaN }, /wait/],
    [{ mode: "some" as "any" }, /mode/],
    [{ grace: 20 }, /grace/],
  ] as const) {
    await assert.rejects(client.hold("db", options), says);
  }
  await assert.rejects(client.hold([]), /at least one/);
  await assert.rejects(client.hold(["a", "b"], { quantity: 2 }), /quantity/);
});

test("a lease is what the language disposes of", () => {
  assert.equal(typeof Lease.prototype[Symbol.asyncDispose], "function");
});
