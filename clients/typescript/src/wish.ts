import { environment } from "./transport.js";
import type { ReserveItem, TransactionMethod } from "./types.js";

/**
 * How long a ticket lives that nobody asks for, in seconds: a client that was killed stands in others' way for so long.
 * A held call keeps its ticket alive; longer than the pauses between calls that fail, and two of the replica's
 * intervals.
 */
const KEEP_ALIVE_S = 15;
const DEFAULT_TTL_S = 30;
/** The longest default grace in seconds, and the share of the time to live that it is otherwise. */
const MOST_GRACE_S = 10;
const GRACE_SHARE = 6;
/** Loss is reported this share of the time to live before the deadline, for clocks do not run equally fast; and at least so long. */
const CLOCK_RATE_SHARE = 100;
const LOSS_MARGIN_MS = 100;
const METHODS = { all: "ALL_OR_NONE", first: "FIRST", any: "AS_MANY_AS_POSSIBLE" } as const;

/** Where a wait stands. */
export interface Waiting {
  /** What is waited for. */
  readonly resources: readonly string[];
  /** The service's sentence. */
  readonly explanation: string;
  /** 1 is next. */
  readonly place: number | null;
  /** Who holds the first of it; null where nobody does, or for a group. */
  readonly holder: string | null;
  readonly holderExpiresAt: string | null;
  /** When it is served if every holder keeps it to the deadline. */
  readonly expectedBy: string | null;
}

/** What `hold` is asked for. */
export interface HoldOptions {
  /** Time to live in whole seconds, 30 without it: so long after its last renewal the name is free, should this program die. */
  readonly ttl?: number;
  /** Seconds to wait for what others hold; 0, the default: not at all; `Infinity`: until it is served. */
  readonly wait?: number;
  /** Of several names `"all"` or none, the `"first"` that is free, or `"any"`: as many as are free, one at least. */
  readonly mode?: keyof typeof METHODS;
  /** Who holds it, as others see it. It must be unique per holder, so a new one is made for each hold without it. */
  readonly requester?: string;
  /** Slots to take of a pool, all or none. */
  readonly quantity?: number;
  /** Of a wait: -1,000 to 1,000, greater is served first. */
  readonly priority?: number;
  /** Shown wherever the holder is shown. */
  readonly note?: string;
  /** A tag, shown in events. */
  readonly resourceType?: string;
  /** Of a wait: seconds for which the place in line is kept should this program die, 5 to 3,600; 15 without it. */
  readonly keepAlive?: number;
  /** Of several names: while it waits, keep nothing of what is free; others may pass. */
  readonly overtake?: boolean;
  /** How long before anybody else can have the name its loss is reported, in seconds. A sixth of `ttl`, at most 10, without it. */
  readonly grace?: number;
  /** Ends the wait: the place in line is given up, and what was got meanwhile given back. It does not end the lease. */
  readonly signal?: AbortSignal;
  /** Called each time that the place in line is known. */
  readonly onWaiting?: (waiting: Waiting) => void;
}

/** The times of a lease. */
export class Times {
  readonly ttl: number;
  readonly #graceMs: number;

  constructor(ttl: number, grace: number) {
    this.ttl = ttl;
    this.#graceMs = grace * 1_000;
  }

  get ttlMs(): number {
    return this.ttl * 1_000;
  }

  /** A third of the time to live. */
  get renewalIntervalMs(): number {
    return this.ttlMs / 3;
  }

  /** Of one attempt to renew: several fit between the first one and the loss. */
  get renewalTimeoutMs(): number {
    return Math.min(Math.max(this.ttlMs / 10, 200), 3_000);
  }

  /** How long after a grant or renewal was sent the lease counts as lost where no other renewal succeeds. */
  get lostAfterMs(): number {
    return this.ttlMs - Math.max(this.ttlMs / CLOCK_RATE_SHARE, LOSS_MARGIN_MS) - this.#graceMs;
  }
}

/** What is wanted, checked. */
export interface Wish {
  readonly items: readonly ReserveItem[];
  /** Null: the one item alone, without a transaction. */
  readonly method: TransactionMethod | null;
  /** Milliseconds; 0: not at all. */
  readonly waitMs: number;
  readonly priority: number | undefined;
  readonly keepAliveSeconds: number;
  readonly overtake: boolean;
  /** Whether the requester was made for this wish, so that whatever it holds is the wish's own. */
  readonly ownRequester: boolean;
  readonly times: Times;
  readonly signal: AbortSignal | undefined;
  readonly onWaiting: ((waiting: Waiting) => void) | undefined;
}

/**
 * Checks what a program asks for.
 *
 * @throws RangeError or TypeError It cannot be meant; the message names the option.
 */
export function makeWish(resources: readonly string[], options: HoldOptions): Wish {
  const { ttl = DEFAULT_TTL_S, wait = 0, mode = "all", quantity } = options;
  if (resources.length === 0) throw new TypeError("name at least one resource");
  if (!(mode in METHODS)) throw new TypeError(`mode is ${String(mode)}; it is one of "all", "first" and "any"`);
  if (!Number.isInteger(ttl) || ttl < 1)
    throw new RangeError(`ttl is ${ttl}; it is a whole number of seconds, 1 at least`);
  if (!(wait >= 0)) throw new RangeError(`wait is ${wait}; it is a number of seconds, or Infinity`);
  if (quantity !== undefined && resources.length > 1) {
    throw new TypeError("quantity goes with one resource, which is a pool");
  }
  const grace = options.grace ?? Math.min(MOST_GRACE_S, ttl / GRACE_SHARE);
  if (!(grace >= 0 && grace <= ttl / 2)) {
    throw new RangeError(
      `grace is ${grace}; it is a number of seconds, at most half of ttl, or no renewal could be tried twice`,
    );
  }
  const requester = options.requester ?? uniqueRequester();
  return {
    items: resources.map((resource) => ({
      resource,
      requester,
      ttlSeconds: ttl,
      ...(options.note === undefined ? {} : { note: options.note }),
      ...(options.resourceType === undefined ? {} : { resourceType: options.resourceType }),
      ...(quantity === undefined ? {} : { quantity }),
    })),
    method: resources.length > 1 ? METHODS[mode] : null,
    waitMs: wait * 1_000,
    priority: options.priority,
    keepAliveSeconds: options.keepAlive ?? KEEP_ALIVE_S,
    overtake: options.overtake ?? false,
    ownRequester: options.requester === undefined,
    times: new Times(ttl, grace),
    signal: options.signal,
    onWaiting: options.onWaiting,
  };
}

/** A requester that no other holder has. */
function uniqueRequester(): string {
  const process = (globalThis as { process?: { pid?: number } }).process;
  const who = environment("USER") ?? environment("LOGNAME") ?? (process?.pid === undefined ? "browser" : "node");
  const host = environment("HOSTNAME");
  const random = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0"));
  return `${who}${host === undefined ? "" : `@${host}`}:${process?.pid ?? "page"}-${random.join("")}`;
}
