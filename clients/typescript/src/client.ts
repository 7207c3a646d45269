import { acquire } from "./acquire.js";
import * as calls from "./calls.js";
import { ApiError, HoldfastError, LeaseLostError } from "./errors.js";
import { type EventOptions, EventStream } from "./events.js";
import { Lease } from "./lease.js";
import { type Call, type ClientOptions, Transport, held, listOf, objectOf } from "./transport.js";
import type {
  ActiveReservation,
  CheckResult,
  Definition,
  FenceResult,
  Listing,
  Page,
  Plan,
  PlatformEventInput,
  ReleaseItem,
  ReleaseResult,
  RenewResult,
  ReserveItem,
  ReserveResult,
  Resource,
  Ticket,
  Transaction,
  TransactionResult,
  WaitingTicket,
} from "./types.js";
import { type HoldOptions, makeWish } from "./wish.js";
import { difference } from "./plan.js";

/** Rows of a page of a listing, and definitions of one call. */
const PAGE_ROWS = 1_000;
/** Pages of one listing: a bound on a server that never ends it. A billion rows. */
const MOST_PAGES = 1_000_000;

/** What a call that the service may hold back takes. */
export interface CallOptions {
  /** Seconds for which the answer is held back while something waits, 60 at most. */
  readonly hold?: number;
  /** Gives the call up: what was sent may be carried out. */
  readonly signal?: AbortSignal;
}

/**
 * Holdfast's client.
 *
 * Calls are repeated where that is safe: while nothing accepts a connection, after 502, 503, 504 and a lost answer, and
 * after the rate's 429, with pauses that grow, with jitter, and are never shorter than the service's `Retry-After`.
 *
 * Every call rejects with a {@link HoldfastError}: {@link ApiError} where the service refuses, {@link UnreachableError}
 * where nothing was sent, {@link OutcomeUnknownError} where nobody knows.
 */
export class Client {
  readonly #transport: Transport;

  constructor(options: ClientOptions = {}) {
    this.#transport = new Transport(options);
  }

  // --- holding

  /**
   * Waits for names in the service's queue, and holds them until the lease is released; several are taken in one atomic
   * step.
   *
   * ```ts
   * await using lease = await client.hold("db-migration", { ttl: 30, wait: 300 });
   * await migrate({ fence: lease.fence, signal: lease.signal });
   * ```
   *
   * @throws {@link NotAcquiredError} Others hold it; after a wait in vain {@link WaitTimeoutError}; {@link
   * DeadlockError} where waiting would never end.
   */
  async hold(resources: string | readonly string[], options: HoldOptions = {}): Promise<Lease> {
    const wish = makeWish(typeof resources === "string" ? [resources] : resources, options);
    return new Lease(this.#transport, await acquire(this.#transport, wish), wish.times);
  }

  /**
   * Holds names while `work` runs, for where there is no `await using`; its result.
   *
   * @throws {@link LeaseLostError} The lease was lost meanwhile, and `work` did not throw or threw because of it.
   */
  async whileHolding<Result>(
    resources: string | readonly string[],
    options: HoldOptions,
    work: (lease: Lease) => Result | PromiseLike<Result>,
  ): Promise<Result> {
    const lease = await this.hold(resources, options);
    let result: Result;
    try {
      result = await work(lease);
    } catch (error) {
      // An error of the work says more than the loss that it may have come from.
      await lease.release().catch((failure: unknown) => rethrowUnlessHoldfast(failure));
      throw error;
    }
    await lease.release().catch((failure: unknown) => {
      if (failure instanceof LeaseLostError) throw failure;
      rethrowUnlessHoldfast(failure);
    });
    return result;
  }

  // --- reservations, call by call

  /** Reserves resources, each on its own; a result per item, in order. Safe to repeat. */
  async reserve(items: readonly ReserveItem[], options: CallOptions = {}): Promise<readonly ReserveResult[]> {
    return listOf(await this.#held(calls.reserve(items), options), "status", items.length);
  }

  /** Moves the end of reservations to `ttl` seconds from now. */
  async renew(items: readonly ReleaseItem[], options: { readonly ttl: number }): Promise<readonly RenewResult[]> {
    return listOf(await this.#transport.call(calls.renew(items, options.ttl)), "status", items.length);
  }

  /**
   * Gives reservations back: results of {@link reserve}, or {@link ReleaseItem}. What nobody holds is a success.
   *
   * @throws {@link ApiError} `INVALID_RELEASE_TOKEN`: a token of something that this requester does hold is wrong;
   * nothing was freed.
   */
  async release(items: readonly ReleaseItem[]): Promise<readonly ReleaseResult[]> {
    return listOf(await this.#transport.call(calls.unreserve(items)), "status", items.length);
  }

  /** Carries transactions out in order, each atomic. Safe to repeat where they reserve. */
  async transact(
    transactions: readonly Transaction[],
    options: CallOptions = {},
  ): Promise<readonly TransactionResult[]> {
    return listOf(await this.#held(calls.transact(transactions), options), "status", transactions.length);
  }

  /** Who holds resources: a result per name, in order. */
  async check(...resources: readonly string[]): Promise<readonly CheckResult[]> {
    return listOf(await this.#transport.call(calls.post("check", { resources })), "resource", resources.length);
  }

  /** All active reservations, read page by page. `events({ since: listing.asOf })` goes on without a hole. */
  async listReservations(
    filter: { readonly prefix?: string; readonly requester?: string } = {},
  ): Promise<Listing<ActiveReservation>> {
    const listing = await this.#list<ActiveReservation>(calls.paths.active, "reservations", { ...filter });
    // A name may recur on a later page; the greater fence is the later grant.
    const newest = new Map<string, ActiveReservation>();
    for (const row of listing.rows) {
      const known = newest.get(row.resource);
      if (known === undefined || known.fencingToken < row.fencingToken) newest.set(row.resource, row);
    }
    return { rows: [...newest.values()], asOf: listing.asOf };
  }

  /**
   * One page of the active reservations. A page may be short: only `nextCursor` null is the end. A name may recur on a
   * later page, where the greater fence is the later grant.
   */
  reservationsPage(
    options: {
      readonly prefix?: string;
      readonly requester?: string;
      readonly limit?: number;
      readonly cursor?: string;
    } = {},
  ): Promise<Page<ActiveReservation>> {
    return this.#page(calls.paths.active, "reservations", { limit: PAGE_ROWS, ...options });
  }

  /** Ends a reservation whoever holds it; what was freed. Needs the scope admin. */
  async forceRelease(resource: string, reason?: string): Promise<readonly string[]> {
    const body = reason === undefined ? { resource } : { resource, reason };
    // Not repeated where its outcome is unknown: by then somebody else may hold it.
    const reply = await this.#transport.call({ ...calls.post("forceRelease", body), safe: false });
    return objectOf<{ released: readonly string[] }>(reply, "released").released;
  }

  /** Ends all reservations and cancels all tickets of the tenant; how many reservations. Needs the scope admin. */
  async reset(): Promise<number> {
    const reply = await this.#transport.call(calls.post("reset", undefined));
    return objectOf<{ released: number }>(reply, "released").released;
  }

  /** Whether a fencing token is that of the current grant. */
  async verifyFence(resource: string, fencingToken: number): Promise<FenceResult> {
    return objectOf<FenceResult>(
      await this.#transport.call(calls.post("verifyFence", { resource, fencingToken })),
      "valid",
    );
  }

  // --- waiting

  /** Who waits for what, read page by page. */
  async listWaiting(
    filter: { readonly resource?: string; readonly requester?: string } = {},
  ): Promise<Listing<WaitingTicket>> {
    const listing = await this.#list<WaitingTicket>(calls.paths.waiting, "waiting", { ...filter });
    return { rows: [...new Map(listing.rows.map((row) => [row.ticket, row])).values()], asOf: listing.asOf };
  }

  /** A ticket and what became of it. What it shows as acquired is claimed by it. */
  async ticket(ticket: string, options: CallOptions = {}): Promise<Ticket> {
    return objectOf<Ticket>(await this.#held(calls.ticket(ticket), options), "status");
  }

  /**
   * Ends the wait of a ticket; what was granted and not yet claimed is given back.
   *
   * @throws {@link ApiError} `CONFLICT`: it was granted and claimed: release it with its token.
   */
  async cancel(ticket: string): Promise<Ticket> {
    return objectOf<Ticket>(await this.#transport.call(calls.cancel(ticket)), "status");
  }

  // --- registered resources

  /** Registers resources, all or none: pools, blockers, places in a tree. Safe to repeat. */
  async register(definitions: readonly Definition[]): Promise<readonly Resource[]> {
    const call: Call = { method: "POST", path: `${calls.paths.resources}/register`, body: definitions };
    return listOf(await this.#transport.call(call), "name", definitions.length);
  }

  /** The difference between definitions and what is registered; `prune` deletes what is not among them. Changes nothing. */
  async plan(definitions: readonly Definition[], options: { readonly prune?: boolean } = {}): Promise<Plan> {
    return difference(definitions, (await this.listResources()).rows, options.prune ?? false);
  }

  /** Carries a plan out. Deleting needs the scope admin. */
  async apply(plan: Plan): Promise<void> {
    const definitions = [...plan.created, ...plan.changed.map(({ to }) => to)];
    for (let begin = 0; begin < definitions.length; begin += PAGE_ROWS) {
      await this.register(definitions.slice(begin, begin + PAGE_ROWS));
    }
    for (const name of plan.deleted) await this.deleteResource(name);
  }

  /** A registered resource. */
  async resource(name: string): Promise<Resource> {
    return objectOf<Resource>(await this.#transport.call({ method: "GET", path: resourcePath(name) }), "name");
  }

  /** All registered resources. */
  listResources(): Promise<Listing<Resource>> {
    return this.#list<Resource>(calls.paths.resources, "resources", {});
  }

  /**
   * Deletes a registered resource; whether it was there. Needs the scope admin.
   *
   * @throws {@link ApiError} `CONFLICT`: it is held, has children, or is named in another's blocks.
   */
  async deleteResource(name: string): Promise<boolean> {
    try {
      await this.#transport.call({ method: "DELETE", path: resourcePath(name) });
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.code === "NOT_FOUND") return false;
      throw error;
    }
  }

  // --- events

  /**
   * The tenant's events, in order, each once, also across lost connections.
   *
   * ```ts
   * for await (const event of client.events({ resources: ["build/*"] })) console.log(event.type, event.data);
   * ```
   */
  events(options: EventOptions = {}): EventStream {
    return new EventStream(this.#transport, options);
  }

  /** Publishes an event of the tenant's own into the same stream; its position. */
  async publish(event: PlatformEventInput): Promise<string> {
    // With an id of its own it is published once, however often it is sent.
    const body = { dedupeId: crypto.randomUUID(), ...event };
    const reply = await this.#transport.call({ method: "POST", path: calls.paths.events, body });
    return objectOf<{ ids: readonly [string] }>(reply, "ids").ids[0];
  }

  #held(call: Call, options: CallOptions) {
    return this.#transport.call(held(call, options.hold ?? 0), options.signal);
  }

  async #page<Row>(
    path: string,
    name: string,
    query: Readonly<Record<string, string | number | undefined>>,
  ): Promise<Page<Row>> {
    const given = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = given.map(([key, value]) => `${key}=${encodeURIComponent(String(value))}`).join("&");
    const reply = await this.#transport.call({ method: "GET", path: `${path}?${search}` });
    const body = objectOf<Record<string, unknown>>(reply, name);
    return {
      rows: body[name] as readonly Row[],
      asOf: (body["asOf"] ?? null) as number | null,
      nextCursor: (body["nextCursor"] ?? null) as string | null,
    };
  }

  async #list<Row>(
    path: string,
    name: string,
    filter: Readonly<Record<string, string | undefined>>,
  ): Promise<Listing<Row>> {
    const first = await this.#page<Row>(path, name, { ...filter, limit: PAGE_ROWS });
    const rows = [...first.rows];
    let cursor = first.nextCursor;
    for (let pages = 1; cursor !== null && pages < MOST_PAGES; pages += 1) {
      const page: Page<Row> = await this.#page(path, name, { ...filter, limit: PAGE_ROWS, cursor });
      for (const row of page.rows) rows.push(row);
      cursor = page.nextCursor;
    }
    return { rows, asOf: first.asOf };
  }
}

function resourcePath(name: string): string {
  return `${calls.paths.resources}/${encodeURIComponent(name)}`;
}

/** Giving back that fails is no error of the work: it ends by itself. */
function rethrowUnlessHoldfast(error: unknown): void {
  if (!(error instanceof HoldfastError)) throw error;
}
