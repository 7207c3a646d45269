import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { ApiError, Client, OutcomeUnknownError, UnexpectedAnswerError, type Definition } from "@holdfast/client";
import { makeClock } from "../dist/clock.js";
import { Peer, type Step, type Tenant, World, eventually, held, refusal } from "./support.js";

let world: World;
let tenant: Tenant;
let client: Client;

before(async () => (world = await World.start()));
after(() => world.close());
beforeEach(async () => {
  tenant = await world.tenant();
  client = world.client(tenant);
});

const item = (resource: string, requester = "w") => ({ resource, requester, ttlSeconds: 60 });
const code = (expected: string) => (error: unknown) => error instanceof ApiError && error.code === expected;
const published: Step = { status: 202, body: { ids: ["7"] } };

test("reserve, renew and release", async () => {
  const [granted, refused] = await client.reserve([item("a"), item("a", "x")]);
  assert.ok(granted !== undefined && refused !== undefined);
  assert.deepEqual([granted.status, refused.status, refused.holder], ["ACQUIRED", "ALREADY_HELD", "w"]);
  const [renewed] = await client.renew([granted], { ttl: 600 });
  assert.equal(renewed?.status, "RENEWED");
  const [checked] = await client.check("a");
  assert.deepEqual([checked?.holder, checked?.isAvailable], ["w", false]);
  await assert.rejects(client.release([{ ...granted, releaseToken: "wrong" }]), code("INVALID_RELEASE_TOKEN"));
  const [released] = await client.release([granted]);
  assert.deepEqual([released?.status, released?.released], ["RELINQUISHED", ["a"]]);
});

test("tickets and transactions", async () => {
  const [applied] = await client.transact([
    { method: "ALL_OR_NONE", requestType: "RESERVE", requests: [item("a"), item("b")] },
  ]);
  assert.ok(applied?.requestType === "RESERVE" && applied.status === "APPLIED");
  const [waits] = await client.reserve([{ ...item("a", "x"), waitSeconds: 60 }]);
  const ticket = waits?.ticket ?? "";
  assert.deepEqual([waits?.status, (await client.ticket(ticket)).status], ["WAITING", "WAITING"]);
  assert.equal((await client.listWaiting({ requester: "x" })).rows[0]?.ticket, ticket);
  const [freed] = await client.transact([
    { method: "ALL_OR_NONE", requestType: "UNRESERVE", requests: applied.results },
  ]);
  assert.ok(freed?.requestType === "UNRESERVE");
  assert.deepEqual(
    freed.results.flatMap((result) => result.released),
    ["a", "b"],
  );
  const served = await client.ticket(ticket, { hold: 5 });
  assert.deepEqual([served.status, served.reservation?.status], ["ACQUIRED", "ACQUIRED"]);
  await assert.rejects(client.cancel(ticket), code("CONFLICT"));
  await assert.rejects(client.ticket("00000000-0000-4000-8000-000000000000"), code("NOT_FOUND"));
});

test("listings are read to their end", async () => {
  const names = Array.from({ length: 25 }, (_, number) => `job/${number}`).sort();
  await client.reserve(names.map((name) => item(name)));
  await client.reserve([item("other", "x")]);
  const listed = (await client.listReservations({ prefix: "job/" })).rows.map((row) => row.resource).sort();
  assert.deepEqual(listed, names);
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<Client["reservationsPage"]>> = await client.reservationsPage({
      prefix: "job/",
      limit: 10,
      ...(cursor === null ? {} : { cursor }),
    });
    seen.push(...page.rows.map((row) => row.resource));
    cursor = page.nextCursor;
  } while (cursor !== null);
  assert.deepEqual(seen.sort(), names);
});

test("resources are planned and applied", async () => {
  const press: Definition = { name: "press", blocks: ["light"], treePath: "plant>hall" };
  await client.register([{ name: "gpu", capacity: 2 }, { name: "old" }, { name: "part", treePath: "old" }]);
  const wanted = [{ name: "gpu", capacity: 4 }, press];
  const plan = await client.plan(wanted, { prune: true });
  assert.deepEqual(
    [plan.created, plan.changed.map(({ to }) => to), plan.deleted],
    [[press], [wanted[0]], ["part", "old"]],
  );
  await client.apply(plan);
  const again = await client.plan(wanted, { prune: true });
  assert.deepEqual([again.created, again.changed, again.deleted, again.unchanged], [[], [], [], 2]);
  assert.equal((await client.resource("gpu")).slots?.length, 4);
  assert.deepEqual([await client.deleteResource("gpu"), await client.deleteResource("gpu")], [true, false]);
  await assert.rejects(client.plan([press, press]), /more than once: press/);
  const name = "a b/ü?#%";
  await client.register([{ name }]);
  assert.equal((await client.resource(name)).name, name);
});

test("an administrator ends what others hold", async () => {
  const [, b] = await client.reserve([item("a"), item("b")]);
  assert.deepEqual(await client.forceRelease("a", "stuck"), ["a"]);
  assert.ok((await client.verifyFence("b", b?.fencingToken ?? 0)).valid);
  assert.equal((await client.verifyFence("a", 1)).currentFencingToken, null);
  assert.equal(await client.reset(), 1);
  assert.deepEqual(await held(client), []);
});

test("errors are told apart by code", async () => {
  await assert.rejects(client.reserve([item("a"), item("")]), (error: unknown) => {
    assert.ok(error instanceof ApiError && error.code === "VALIDATION_ERROR" && error.status === 400);
    assert.equal(error.details[0]?.path, "[1].resource");
    return true;
  });
  await assert.rejects(world.client({ ...tenant, apiKey: "hf_live_nobody" }).check("a"), code("UNAUTHORIZED"));
  const free = world.client(await world.tenant("Free"));
  await assert.rejects(
    free.reserve(Array.from({ length: 51 }, (_, number) => item(`r${number}`))),
    (error: unknown) => {
      assert.ok(error instanceof ApiError && error.upgradeRequired && !error.isTemporary);
      assert.deepEqual([error.limitType, error.limit, error.tier], ["ConcurrentReservations", 50, "Free"]);
      return (error.retryAfter ?? 0) >= 1;
    },
  );
});

test("a pause is never shorter than the service asks for", async () => {
  const headers = { "Retry-After": "1" };
  const limited = { status: 429, body: refusal("RATE_LIMITED", { limitType: "RequestRate" }), headers };
  const away = { status: 503, body: refusal("UNAVAILABLE"), headers };
  await using peer = await Peer.start(limited, away, published);
  assert.equal(await peer.client.publish({ type: "x", data: 1 }), "7");
  const [first, second, third] = peer.requests.map(({ at }) => at) as [number, number, number];
  assert.ok(second - first >= 995 && third - second >= 995);
});

test("a call is repeated only where that is safe", async () => {
  const unknown = { status: 504, body: refusal("OUTCOME_UNKNOWN") };
  const released = { status: 200, body: { released: ["a"] } };
  // By the time of a second attempt somebody else may hold it.
  for (const failure of [unknown, null]) {
    await using peer = await Peer.start(failure, released);
    await assert.rejects(peer.client.forceRelease("a"), OutcomeUnknownError);
    assert.equal(peer.requests.length, 1);
  }
  // Nothing changed by a 503, so anything may be asked again; what has an id of its own is published once.
  {
    await using peer = await Peer.start({ status: 503, body: refusal("UNAVAILABLE") }, released);
    assert.deepEqual(await peer.client.forceRelease("a"), ["a"]);
  }
  {
    await using peer = await Peer.start(unknown, null, { status: 502, body: "<html>" }, published);
    await peer.client.publish({ type: "x", data: 1 });
    assert.equal(new Set(peer.requests.map(({ body }) => (body as { dedupeId: string }).dedupeId)).size, 1);
  }
  // A bug's 500 is not mended by asking again, and other limits than the rate do not pass by themselves.
  const capped = { status: 429, body: refusal("RATE_LIMITED", { limitType: "WaitingTickets" }) };
  for (const failure of [{ status: 500, body: refusal("INTERNAL") }, capped]) {
    await using peer = await Peer.start(failure, published);
    await assert.rejects(peer.client.publish({ type: "x", data: 1 }), ApiError);
    assert.equal(peer.requests.length, 1);
  }
});

test("what an earlier attempt took is the holder's own", async () => {
  const result = { resource: "db", requester: "w", explanation: "", releaseToken: "t", fencingToken: 7 };
  await using peer = await Peer.start(
    null,
    { status: 200, body: [{ ...result, status: "ALREADY_HAD" }] },
    { status: 200, body: [{ ...result, status: "RENEWED" }] },
    { status: 200, body: [{ ...result, status: "RELINQUISHED", released: ["db"] }] },
  );
  {
    await using lease = await peer.client.hold("db", { requester: "w", ttl: 600 });
    assert.equal(lease.fence, 7);
  }
  const lines = peer.requests.map(({ line }) => line.split("/").pop());
  assert.deepEqual(lines, ["reserve", "reserve", "renew", "unreserve"]);
});

test("what is none of Holdfast's is said so", async () => {
  for (const answer of [
    { status: 200, body: "<html>" },
    { status: 200, body: [{ x: 1 }] },
    { status: 200, body: { x: 1 } },
    { status: 302, body: "", headers: { Location: "/" } },
  ]) {
    await using peer = await Peer.start(answer);
    await assert.rejects(peer.client.check("a"), UnexpectedAnswerError);
  }
});

test("addresses and keys that cannot be used say why", () => {
  for (const [url, says] of [
    ["127.0.0.1:8080", /cannot be read|scheme/],
    ["ftp://x", /scheme/],
    ["http://u:p@h", /password/],
    ["http://h/?a=b", /query/],
  ] as const) {
    assert.throws(
      () => new Client({ url }),
      (error: Error) => says.test(error.message) && !error.message.includes("u:p"),
    );
  }
  assert.throws(() => new Client({ url: [] }), /empty/);
  assert.throws(() => new Client({ url: "http://h", key: "hf_live x" }), /one word/);
});

test("a clock counts what the machine slept, and never goes back", () => {
  let [monotonic, wall] = [0, 1_000_000];
  const clock = makeClock(
    () => monotonic,
    () => wall,
  );
  const pass = (monotonicMs: number, wallMs: number): number => {
    monotonic += monotonicMs;
    wall += wallMs;
    return clock();
  };
  assert.equal(pass(1_000, 1_001), 1_000, "the two tick differently");
  assert.equal(pass(1_000, 60_000), 61_000, "suspended for 59 s");
  assert.equal(pass(1_000, -600_000), 62_000, "the wall clock was set back");
  assert.equal(pass(1_000, 31_000), 93_000, "and suspended again");
});

test("every field that the service answers is known", async () => {
  // Both ways: a field that is missing here is an error of the compiler, one that is new an error of the test.
  await client.register([{ name: "gpu", capacity: 2 }]);
  const [granted] = await client.reserve([item("gpu")]);
  assert.ok(granted !== undefined);
  const keys = (value: object | undefined): string[] => Object.keys(value ?? {}).sort();
  const known = <Row extends object>(names: Record<keyof Row, true>): string[] => Object.keys(names).sort();
  const { resource, requester, status, explanation } = {
    resource: true,
    requester: true,
    status: true,
    explanation: true,
  } as const;
  const head = { resource, requester, status, explanation };
  const ticketFields = { ticket: true, place: true, waitExpiresAt: true, expectedBy: true } as const;
  assert.deepEqual(
    keys(granted),
    known<typeof granted>({
      ...head,
      ...ticketFields,
      releaseToken: true,
      expiresAt: true,
      acquiredSlots: true,
      slots: true,
      acquiredBlockers: true,
      reservedAtPath: true,
      fencingToken: true,
      holder: true,
      holderExpiresAt: true,
    }),
  );
  const [renewed] = await client.renew([granted], { ttl: 60 });
  assert.deepEqual(
    keys(renewed),
    known<NonNullable<typeof renewed>>({ ...head, expiresAt: true, fencingToken: true, waiting: true }),
  );
  const [checked] = await client.check("gpu");
  assert.deepEqual(
    keys(checked),
    known<NonNullable<typeof checked>>({
      resource,
      isReserved: true,
      holder: true,
      expiresAt: true,
      isAvailable: true,
      capacity: true,
      available: true,
      note: true,
      waiting: true,
    }),
  );
  const [row] = (await client.listReservations()).rows;
  assert.deepEqual(
    keys(row),
    known<NonNullable<typeof row>>({
      resource,
      requester,
      reservedAt: true,
      expiresAt: true,
      resourceType: true,
      apiKeyLabel: true,
      note: true,
      pool: true,
      reservedAtPath: true,
      blockers: true,
      blockerOf: true,
      fencingToken: true,
    }),
  );
  await client.reserve([item("gpu", "x")]);
  const [waits] = await client.reserve([{ ...item("gpu", "y"), waitSeconds: 60 }]);
  const shown = await client.ticket(waits?.ticket ?? "");
  const lineFields = { ...ticketFields, requester, resources: true, priority: true, since: true } as const;
  assert.deepEqual(
    keys(shown),
    known<typeof shown>({ ...lineFields, status, waitedMs: true, reservation: true, transaction: true }),
  );
  const [line] = (await client.listWaiting()).rows;
  assert.deepEqual(
    keys(line),
    known<NonNullable<typeof line>>({ ...lineFields, method: true, note: true, apiKeyLabel: true }),
  );
  const stream = await client.events().open();
  await client.release([granted]);
  const event = await eventually("an event", async () => (await stream.next()).value);
  assert.ok(event.kind === "reservation");
  assert.deepEqual(
    keys(event.data),
    known<typeof event.data>({
      id: true,
      type: true,
      tenantId: true,
      resource,
      requester,
      explanation,
      reason: true,
      resourceType: true,
      apiKeyLabel: true,
      requestType: true,
      timestamp: true,
      method: true,
      changes: true,
      limitType: true,
      limit: true,
      fencingToken: true,
      expiresAt: true,
      pool: true,
      slots: true,
      blockers: true,
      note: true,
      ticket: true,
      waitedMs: true,
      place: true,
      waitExpiresAt: true,
    }),
  );
  stream.close();
});
