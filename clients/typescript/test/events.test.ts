import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { ApiError, Client, type EventStream, type HoldfastEvent } from "@holdfast/client";
import { type Tenant, World, eventually } from "./support.js";
import { Parser } from "../dist/sse.js";

let world: World;
let tenant: Tenant;
let client: Client;

before(async () => (world = await World.start()));
after(() => world.close());
beforeEach(async () => {
  await world.repair();
  tenant = await world.tenant();
  client = world.client(tenant);
});

async function take(stream: EventStream, count: number): Promise<HoldfastEvent[]> {
  const events: HoldfastEvent[] = [];
  while (events.length < count) {
    const { value } = await stream.next();
    assert.ok(value !== undefined, "the stream goes on");
    events.push(value);
  }
  return events;
}

function resources(events: readonly HoldfastEvent[]): (string | null)[] {
  return events.map((event) => (event.kind === "reservation" ? event.data.resource : null));
}

async function pass(at: Client, name: string): Promise<number> {
  return at.whileHolding(name, {}, (lease) => lease.fence);
}

test("a stream carries what happens from its opening on", async () => {
  const stream = await client.events().open();
  const begun = stream.position;
  const fence = await pass(client, "db");
  const [reserved, unreserved] = await take(stream, 2);
  assert.ok(reserved?.kind === "reservation" && unreserved?.kind === "reservation");
  assert.deepEqual([reserved.type, reserved.position, reserved.data.fencingToken], ["RESERVED", fence, fence]);
  assert.deepEqual([unreserved.type, unreserved.data.explanation], ["UNRESERVED", "RELINQUISHED"]);
  assert.ok(begun !== null && begun < fence);
  assert.equal(stream.position, unreserved.position);
  stream.close();
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test("a listing and a stream fit without a hole", async () => {
  await using _ = await client.hold("before");
  const listing = await client.listReservations();
  await pass(client, "after");
  assert.deepEqual(
    listing.rows.map((row) => row.resource),
    ["before"],
  );
  for await (const event of client.events({ since: listing.asOf ?? 0, types: ["RESERVED"] })) {
    assert.deepEqual(resources([event]), ["after"]);
    break;
  }
});

test("filters pass names with any character", async () => {
  const name = 'a,b "ü" \u2028';
  const stream = await client.events({ resources: [name, "build/*"], types: ["RESERVED"] }).open();
  for (const resource of ["other", name, "build/7"]) await pass(client, resource);
  assert.deepEqual(resources(await take(stream, 2)), [name, "build/7"]);
  stream.close();
  assert.throws(() => client.events({ types: "RESERVED" as unknown as string[] }), /types/);
});

test("a tenant's own events share the stream", async () => {
  const stream = await client.events().open();
  const position = await client.publish({ type: "trade", data: { side: "buy" } });
  const [event] = await take(stream, 1);
  assert.ok(event?.kind === "platform");
  assert.deepEqual([event.type, String(event.position), event.data.data], ["trade", position, { side: "buy" }]);
  const twice = { type: "trade", data: 1, dedupeId: "x" };
  assert.equal(await client.publish(twice), await client.publish(twice));
  stream.close();
});

for (const [since, reason] of [
  [5, "too_old"],
  ["what", "unknown"],
] as const) {
  test(`a position that is ${reason} is told`, async () => {
    await pass(client, "db");
    const stream = await client.events({ since }).open();
    const [reset] = await take(stream, 1);
    assert.ok(reset?.kind === "reset" && reset.data.reason === reason);
    await pass(client, "next");
    const [next] = await take(stream, 1);
    assert.ok(next?.kind === "reservation" && (next.position ?? 0) > reset.data.asOf);
    stream.close();
  });
}

test("a stream outlives its replica without a hole or a double", async () => {
  const [follower, worker] = [world.client(tenant, 0, 1), world.client(tenant, 1)];
  const stream = await follower.events({ types: ["RESERVED"] }).open();
  const names = Array.from({ length: 60 }, (_, number) => `job-${number}`);
  const work = (async () => {
    for (const name of names) await pass(worker, name);
  })();
  const seen = resources(await take(stream, 5));
  await world.replicas[0].kill();
  seen.push(...resources(await take(stream, 55)));
  await work;
  assert.deepEqual(seen, names);
  stream.close();
});

test("a stream waits for a service that is away", async () => {
  const stream = await world
    .client(tenant, 0)
    .events({ types: ["RESERVED"] })
    .open();
  await world.replicas[0].stop();
  await pass(world.client(tenant, 1), "db");
  world.replicas[0].goOn();
  assert.deepEqual(resources(await take(stream, 1)), ["db"]);
  stream.close();
});

test("a signal ends a stream with its reason, and close without one", async () => {
  const abort = new AbortController();
  const aborted = client.events({ signal: abort.signal });
  const next = aborted.open().then(() => aborted.next());
  await eventually("it is open", () => aborted.position !== null);
  abort.abort(new RangeError("enough"));
  await assert.rejects(next, RangeError);
  const closed = await client.events().open();
  const waiting = closed.next();
  closed.close();
  assert.deepEqual(await waiting, { done: true, value: undefined });
});

test("a refused credential and one stream too many end with their error", async () => {
  const stranger = world.client({ ...tenant, apiKey: "hf_live_nobody" });
  const code = (expected: string) => (error: unknown) => error instanceof ApiError && error.code === expected;
  await assert.rejects(stranger.events().next(), code("UNAUTHORIZED"));
  const free = world.client(await world.tenant("Free"));
  const first = await free.events().open();
  await assert.rejects(free.events().open(), (error: unknown) => {
    return error instanceof ApiError && error.limitType === "SseConnections" && error.upgradeRequired;
  });
  first.close();
});

test("frames are parsed however they are cut", () => {
  const text =
    'retry: 1500\n\ndata: {"type":"connected"}\n\nid: 7\n\nid: 8\nevent: RESERVED\ndata: "ü"\n\n' +
    ": keepalive\nid: 9\n\nevent: X\ndata: 1\ndata: 2\r\n\n";
  const bytes = new TextEncoder().encode(text);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    const parser = new Parser();
    assert.deepEqual(
      [...parser.feed(bytes.slice(0, cut)), ...parser.feed(bytes.slice(cut))],
      [
        { type: null, id: null, data: '{"type":"connected"}' },
        { type: null, id: "7", data: null },
        { type: "RESERVED", id: "8", data: '"ü"' },
        { type: null, id: "9", data: null },
        { type: "X", id: null, data: "1\n2" },
      ],
    );
    assert.equal(parser.retryMs, 1_500);
  }
  const endless = new Parser();
  endless.feed(new Uint8Array(8 << 20).fill(120));
  assert.throws(() => endless.feed(new Uint8Array(1).fill(120)), /too long/);
});
