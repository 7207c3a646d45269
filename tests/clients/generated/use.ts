// What a user of the generated types writes: reserves, waits, looks, gives back.
// Checked by tsc, and run against a replica.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

// The document's paths are whole, or begin behind the address of its server.
type At<Path extends string> = Extract<keyof paths, Path | `/api/v1${Path}`>;
const url = process.env["HOLDFAST_URL"]!;
const server = process.env["HOLDFAST_SERVER"]!;
const at = <Path extends string>(path: Path): At<Path> => (server === "/" ? `/api/v1${path}` : path) as At<Path>;

const client = createClient<paths>({
  baseUrl: new URL(server, url).href.replace(/\/$/, ""),
  headers: { "X-Api-Key": process.env["HOLDFAST_KEY"]! },
});

function is(condition: boolean, seen: unknown): asserts condition {
  if (!condition) throw new Error(JSON.stringify(seen));
}

async function reserved(item: components["schemas"]["ReserveItem"]) {
  const answer = await client.POST(at("/Reservation/reserve"), { body: [item], params: { query: { hold: 0 } } });
  is(answer.data !== undefined, answer.error);
  const result = answer.data[0];
  is(result !== undefined, answer);
  return result;
}

const mine = { requester: "typescript-1", resource: "deploy" };
const held = await reserved({ ...mine, ttlSeconds: 60 });
is(held.status === "ACQUIRED", held);
const waiting = await reserved({ requester: "typescript-2", resource: "deploy", ttlSeconds: 60, waitSeconds: 60 });
is(waiting.status === "WAITING" && waiting.place === 1, waiting);
const checked = await client.POST(at("/Reservation/check"), { body: { resources: ["deploy"] } });
is(checked.data?.[0]?.holder === "typescript-1", checked);
const listed = await client.GET(at("/Reservation/activeReservations"), { params: { query: { limit: 10 } } });
is(listed.data?.reservations[0]?.resource === "deploy", listed);
const refused = await client.POST(at("/Reservation/unreserve"), { body: [{ ...mine, releaseToken: "none" }] });
is(refused.error?.error.code === "INVALID_RELEASE_TOKEN", refused);
const releaseToken = held.releaseToken;
is(typeof releaseToken === "string", held);
const released = await client.POST(at("/Reservation/unreserve"), { body: [{ ...mine, releaseToken }] });
is(released.data?.[0]?.released[0] === "deploy", released);
const wrong = await client.POST(at("/Reservation/reserve"), { body: [{ requester: "", resource: "deploy" }] });
is(wrong.error?.error.details[0]?.path === "[0].requester", wrong);
const next = await reserved({ requester: "typescript-2", resource: "deploy", ttlSeconds: 60 });
console.log(JSON.stringify({ fence: held.fencingToken, handedOver: next.status }));
