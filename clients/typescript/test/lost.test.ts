/** What a lease does when replicas, Redis, the key or the program itself fail: its loss is reported before anybody else is served. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { after, before, beforeEach, test } from "node:test";

import { ApiError, LeaseLostError, UnreachableError, OutcomeUnknownError, Client } from "@holdfast/client";
import { type Tenant, World, eventually, held, program, waiting } from "./support.js";

const TTL = 2;

let world: World;
let tenant: Tenant;

before(async () => (world = await World.start()));
after(() => world.close());
beforeEach(async () => {
  await world.repair();
  tenant = await world.tenant();
});

/**
 * Holds a name at the first replica while another client waits for it at the second; how long before that one's grant the loss was
 * reported, in milliseconds.
 */
async function losesInTime(breakIt: () => unknown, mend: () => void = () => undefined): Promise<number> {
  const [client, other] = [world.client(tenant, 0), world.client(tenant, 1)];
  let reported = 0;
  let granted = 0;
  const lease = await client.hold("db", { ttl: TTL, grace: 0.5 });
  lease.signal.addEventListener("abort", () => (reported = performance.now()));
  const taken = other.whileHolding("db", { wait: 60, ttl: 60 }, () => (granted = performance.now()));
  await eventually("the other one waits", async () => (await waiting(other)) === 1);
  await breakIt();
  await eventually("the loss is reported", () => reported);
  assert.equal(granted, 0, "before anybody else has it");
  mend();
  await taken;
  assert.equal(lease.lostReason, "it could not be renewed in time");
  await assert.rejects(lease.release(), LeaseLostError);
  return granted - reported;
}

test("a stopped replica loses the lease in time", async () => {
  assert.ok((await losesInTime(() => world.replicas[0].stop())) > 250);
});

test("a killed replica loses the lease in time", async () => {
  assert.ok((await losesInTime(() => world.replicas[0].kill())) > 250);
});

test("a stopped Redis loses the lease in time", async () => {
  const { redis } = world;
  const lead = await losesInTime(
    () => redis.stop(),
    () => redis.goOn(),
  );
  assert.ok(lead > 0);
});

test("a revoked key loses the lease in time", async () => {
  const keys = `${world.urls[0]}/api/v1/keys`;
  const headers = { "X-Api-Key": tenant.apiKey, "Content-Type": "application/json" };
  const made = await fetch(keys, { method: "POST", headers, body: '{"label":"worker"}' });
  const key = (await made.json()) as { id: string; apiKey: string };
  const worker = world.client({ ...tenant, apiKey: key.apiKey });
  let reported = 0;
  const lease = await worker.hold("db", { ttl: TTL, grace: 0.5 });
  lease.signal.addEventListener("abort", () => (reported = performance.now()));
  assert.equal((await fetch(`${keys}/${key.id}`, { method: "DELETE", headers })).status, 204);
  const taken = await world.client(tenant).hold("db", { wait: 60 });
  assert.ok(lease.lost && reported > 0 && performance.now() - reported > 250);
  await taken.release();
  await assert.rejects(worker.hold("db", { wait: 60 }), (error: unknown) => {
    return error instanceof ApiError && error.code === "UNAUTHORIZED";
  });
});

test("a program that was paused knows at once", async () => {
  const code = `
    import { Client } from "@holdfast/client";
    const lease = await new Client().hold("db", { ttl: ${TTL} });
    console.log("has it");
    process.kill(process.pid, "SIGSTOP");
    console.log(lease.lost ? "lost" : "still");
    process.exit(0);`;
  const paused = program(code, world.urls, tenant);
  await paused.line("has it");
  const taken = await world.client(tenant).hold("db", { wait: 60 });
  paused.goOn();
  assert.equal(await paused.end(), 0, paused.errors);
  await paused.line("lost");
  await taken.release();
});

test("a replica killed while holding is survived", async () => {
  const client = world.client(tenant, 0, 1);
  {
    await using lease = await client.hold("db", { ttl: 9 });
    await world.replicas[0].kill();
    const begun = Number(lease.expiresAt);
    await eventually("it is renewed at the other one", () => Number(lease.expiresAt) - begun > 2_000);
    assert.ok(!lease.lost);
  }
  assert.deepEqual(await held(client), []);
});

for (const names of [["db"], ["db", "schema"]]) {
  test(`a replica killed while waiting for ${names.join(" and ")} is survived, and the place kept`, async () => {
    const [first, client, behind] = [world.client(tenant, 1), world.client(tenant, 0, 1), world.client(tenant, 1)];
    const served: string[] = [];
    const lease = await first.hold("db", { ttl: 60 });
    const one = client.whileHolding(names, { wait: 60 }, () => served.push("first in line"));
    await eventually("one waits", async () => (await waiting(first)) === 1);
    const [ticket] = (await first.listWaiting()).rows;
    const two = behind.whileHolding(names, { wait: 60 }, () => served.push("second in line"));
    await eventually("two wait", async () => (await waiting(first)) === 2);
    await world.replicas[0].kill();
    await lease.release();
    await Promise.all([one, two]);
    assert.deepEqual(served, ["first in line", "second in line"]);
    assert.ok(ticket !== undefined && (await first.ticket(ticket.ticket)).status === "ACQUIRED", "the same ticket");
  });
}

test("what is not there at all is reported soon, and what never answers in time", async () => {
  const closed = createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as AddressInfo;
  closed.close();
  const begun = performance.now();
  await assert.rejects(new Client({ url: `http://127.0.0.1:${port}` }).hold("db", { wait: 60 }), UnreachableError);
  assert.ok(performance.now() - begun < 5_000);
  const lease = await world.client(tenant, 0).hold("db", { ttl: 4 });
  await world.replicas[0].stop();
  await assert.rejects(lease.renew(), OutcomeUnknownError);
  assert.ok(!lease.lost);
  world.replicas[0].goOn();
  await lease.release();
});

test("giving back to nobody does not hide what the block did", async () => {
  const client = world.client(tenant, 0);
  const result = await client.whileHolding("db", { ttl: 60 }, async () => {
    await world.replicas[0].kill();
    return "done";
  });
  assert.equal(result, "done");
});
