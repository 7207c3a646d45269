// The document's examples name a token, a ticket and ids that no service has. Once a call on this page was answered with real ones, they
// stand for these, so that what was reserved here can be renewed and released as the examples are.

const TOKEN = "f01bdbb5-4ba1-4ab7-a69c-bac3ee1d9b1d";
const TICKET = "4c9e2a1c-6f0e-4b6f-9d0c-3d6f4b9f8a21";
/** Example id, and the operation whose answer has a real one. */
const IDS = {
  createKey: { example: "5b0e8a9c7d4f4e0c8f4c9a7d2b1e6f30", real: (answer) => answer.id },
  createConnection: { example: "0f8fad5b-d9cb-469f-a165-70867728950e", real: (answer) => answer.id },
  createTenant: { example: "1f0c6f0a-55cb-4a62-9d6e-0a3b7a6ac9d1", real: (answer) => answer.tenantId },
  listJobs: { example: "7d444840-9dc0-51d1-b245-5ffdce74fad2", real: (answer) => answer.data[0]?.id },
};

/** A time at which something was pushed; jobs of that day are kept no more. */
const TIME = "2026-05-13T12:01:00.000Z";

/** What stands for an example value. */
const known = new Map();
/** Release tokens by requester and resource. */
const tokens = new Map();

const holding = ({ requester, resource }) => JSON.stringify([requester, resource]);

/** Puts real values in the places of examples. */
export function fillIn(request) {
  for (const [example, real] of known) {
    request.url = request.url.replaceAll(example, real);
  }
  if (typeof request.body !== "string") return;
  if (new URL(request.url, location.href).pathname === "/api/ingest") {
    request.body = request.body.replaceAll(TIME, new Date().toISOString());
  }
  if (!request.body.includes(TOKEN)) return;
  try {
    request.body = JSON.stringify(withTokens(JSON.parse(request.body)), null, 2);
  } catch {
    // Not JSON: the service says what is wrong with it.
  }
}

function withTokens(value) {
  if (Array.isArray(value)) return value.map(withTokens);
  if (value === null || typeof value !== "object") return value;
  if (value.releaseToken === TOKEN) return { ...value, releaseToken: tokens.get(holding(value)) ?? TOKEN };
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, withTokens(member)]));
}

/** Keeps the real values of an answer. */
export function learn(response, spec, ui) {
  const answer = response.ok && response.body && typeof response.body === "object" ? response.body : null;
  if (!answer) return;
  for (const item of Array.isArray(answer) ? answer.flatMap((item) => [item, ...(item.results ?? [])]) : [answer]) {
    if (item.releaseToken) tokens.set(holding(item), item.releaseToken);
    if (item.ticket) known.set(TICKET, item.ticket);
  }
  const path = new URL(response.url, location.href).pathname;
  const operation = Object.values(spec.paths[path] ?? {}).find(({ operationId }) => operationId in IDS);
  const id = operation && IDS[operation.operationId].real(answer);
  if (id) known.set(IDS[operation.operationId].example, id);
  if (answer.ingestKey) {
    const schema = spec.components.securitySchemes.ingestKey;
    ui.authActions.authorize({ ingestKey: { name: "ingestKey", schema, value: answer.ingestKey } });
  }
}
