import { Backoff, sleep } from "./backoff.js";
import * as calls from "./calls.js";
import { now } from "./clock.js";
import {
  ApiError,
  DeadlockError,
  HoldfastError,
  LeaseLostError,
  NotAcquiredError,
  OutcomeUnknownError,
  WaitTimeoutError,
  isTemporary,
} from "./errors.js";
import { renewOnce } from "./renew.js";
import { type Call, type Reply, type Transport, held, listOf, objectOf, within } from "./transport.js";
import type { ReleaseItem, ReserveResult, Ticket, TransactionResult } from "./types.js";
import type { Waiting, Wish } from "./wish.js";

/** How long the service is asked to hold an answer back: long enough to cost little, short enough that the place is of now. */
const HOLD_MS = 20_000;
/** The longest wait that one call may ask for; who waits longer asks again and keeps the place. */
const MOST_WAIT_S = 86_400;
/** Bounds of the pause between calls that fail. What its ticket gets meanwhile stands idle until it asks again. */
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 1_000;
/** Time for the renewal that makes the deadline known: there is none yet to keep. */
const FIRST_RENEWAL_TIMEOUT_MS = 5_000;
/** Time for each step of giving up: whoever waits is about to leave, and tickets lapse by themselves. */
const ABANDON_TIMEOUT_MS = 3_000;

/** What is held, and since when at the earliest its time to live counts. */
export interface Granted {
  readonly results: readonly ReserveResult[];
  readonly sent: number;
}

/** One answer, in one form for single items and transactions. */
interface Answer {
  readonly results: readonly ReserveResult[];
  /** Whether all that was wanted is held: the item, or the transaction as it is applied. */
  readonly complete: boolean;
  readonly deadlock: boolean;
  readonly sent: number;
  /** Whether what is held was taken by this very call, so that its time to live began after `sent`. */
  readonly fresh: boolean;
  /** Whether something was held by the same requester before the first call. */
  readonly hadBefore: boolean;
  readonly tickets: readonly string[];
  readonly explanation: string;
  readonly waiting: Waiting;
}

/**
 * Waits and reserves. Where the time to live did not begin with the last call it is renewed, so that the deadline is
 * known.
 *
 * @throws {@link NotAcquiredError} It is held by others; {@link WaitTimeoutError}, {@link DeadlockError}: and was
 * waited for.
 * @throws {@link HoldfastError} The first call failed, or one that asking again cannot mend.
 */
export async function acquire(transport: Transport, wish: Wish): Promise<Granted> {
  const until = now() + wish.waitMs;
  for (;;) {
    const attempt = new Acquiring(transport, wish);
    const answer = await attempt.run(until);
    if (answer.hadBefore || !answer.complete) throw notAcquired(wish, answer);
    const results = answer.results.filter(isHeld);
    if (answer.fresh) return { results, sent: answer.sent };
    try {
      const renewed = await renewOnce(transport, results, wish.times, wish.signal, FIRST_RENEWAL_TIMEOUT_MS);
      const ends = new Map(renewed.results.map((result) => [result.resource, result.expiresAt]));
      const granted = results.map((result) => ({ ...result, expiresAt: ends.get(result.resource) ?? null }));
      return { results: granted, sent: renewed.sent };
    } catch (error) {
      // It lapsed on the way here: it is wanted as before.
      if (error instanceof LeaseLostError) continue;
      await ignoringFailures(releaseAll(transport, results));
      throw error;
    }
  }
}

function isHeld(result: ReserveResult): boolean {
  return result.status === "ACQUIRED" || result.status === "ALREADY_HAD";
}

function notAcquired(wish: Wish, answer: Answer): NotAcquiredError {
  const had = answer.results.find((result) => result.status === "ALREADY_HAD");
  if (answer.hadBefore && had !== undefined) {
    const message =
      `${had.resource} is held by ${had.requester} already: a holder with the same requester is at work, or ended without giving ` +
      "back; leave requester out, or wait until it expires";
    return new NotAcquiredError(message, answer.results);
  }
  const refused = answer.results.filter((result) => !isHeld(result));
  const sentences = new Set(refused.map((result) => `${result.resource}: ${result.explanation}`));
  const text = [...sentences].join("; ") || answer.explanation || "not acquired";
  if (answer.deadlock) return new DeadlockError(text, answer.results);
  return new (wish.waitMs > 0 ? WaitTimeoutError : NotAcquiredError)(text, answer.results);
}

/** What is known while acquiring. */
class Acquiring {
  readonly #transport: Transport;
  readonly #wish: Wish;
  /** Whether an earlier call may have taken something, so that `ALREADY_HAD` may be its work. */
  #uncertain = false;
  /** Whether a call is under way that may take something. */
  #asking = false;
  /** What waits in the service. */
  #tickets: readonly string[] = [];
  #taken: readonly ReserveResult[] = [];

  constructor(transport: Transport, wish: Wish) {
    this.#transport = transport;
    this.#wish = wish;
  }

  async run(until: number): Promise<Answer> {
    try {
      const answer = await (this.#wish.waitMs > 0 ? this.#queue(until) : this.#once());
      this.#wish.signal?.throwIfAborted();
      return answer;
    } catch (error) {
      // Aborted, or a callback of the program failed: what a call under way got is given back.
      if (!(error instanceof HoldfastError)) await this.#giveUp();
      throw error;
    }
  }

  /** Asks once, without waiting. */
  #once(): Promise<Answer> {
    return this.#ask(0, 0);
  }

  /** Waits in the service's queue. */
  async #queue(until: number): Promise<Answer> {
    const { signal, onWaiting, method } = this.#wish;
    const backoff = new Backoff(FIRST_RETRY_MS, LONGEST_RETRY_MS);
    let hold = 0;
    let asked = false;
    for (;;) {
      let left = Math.max(until - now(), 0);
      let answer: Answer;
      try {
        answer = await this.#ask(Math.max(Math.ceil(Math.min(left / 1_000, MOST_WAIT_S)), 1), Math.min(hold, left));
      } catch (error) {
        if (!(asked && isTemporary(error) && left > 0)) throw error;
        await sleep(Math.min(backoff.pause(), left), signal);
        continue;
      }
      asked = true;
      backoff.reset();
      const [ticket] = answer.tickets;
      if (ticket === undefined) return answer;
      this.#uncertain = true;
      onWaiting?.(answer.waiting);
      signal?.throwIfAborted();
      left = until - now();
      if (left <= 0) {
        // Given up, so that it does not stand in others' way until it lapses.
        await this.#abandonTickets();
        return this.#once();
      }
      if (left < 1_000) {
        // Answers are held back for whole seconds.
        await sleep(left, signal);
        hold = 0;
        continue;
      }
      hold = HOLD_MS;
      if (method === null) continue;
      try {
        const shown = await this.#askTicket(ticket, Math.min(hold, left));
        if (shown === "ended") return await this.#once();
        if (shown !== null) return shown;
        hold = 0;
      } catch (error) {
        if (!isTemporary(error)) throw error;
        await sleep(Math.min(backoff.pause(), left), signal);
      }
    }
  }

  /** Asks once; `wait` 0 does not wait. */
  async #ask(wait: number, holdMs: number): Promise<Answer> {
    this.#asking = true;
    let reply: Reply;
    try {
      // An answer that is held back is not waited for: its ticket is cancelled.
      const graceMs = holdMs === 0 ? ABANDON_TIMEOUT_MS : 0;
      reply = await this.#transport.call(held(this.#call(wait), holdMs / 1_000), this.#wish.signal, graceMs);
    } catch (error) {
      if (error instanceof OutcomeUnknownError) this.#uncertain = true;
      throw error;
    }
    const answer = this.#read(reply);
    this.#asking = false;
    this.#tickets = answer.tickets;
    this.#taken = answer.hadBefore ? [] : answer.results.filter(isHeld);
    return answer;
  }

  #call(waitSeconds: number): Call {
    const { items, method, priority, keepAliveSeconds, overtake } = this.#wish;
    const waits =
      waitSeconds > 0 ? { waitSeconds, keepAliveSeconds, ...(priority === undefined ? {} : { priority }) } : {};
    if (method === null) return calls.reserve(items.map((item) => ({ ...item, ...waits })));
    const passes = waitSeconds > 0 && overtake ? { overtake } : {};
    return calls.transact([{ method, requestType: "RESERVE", requests: items, ...waits, ...passes }]);
  }

  /** An answer in one form for single items and transactions. */
  #read(reply: Reply): Answer {
    let results: readonly ReserveResult[];
    let complete: boolean;
    let deadlock: boolean;
    let first: Pick<ReserveResult, "ticket" | "place" | "expectedBy"> | undefined;
    let explanation = "";
    if (this.#wish.method === null) {
      results = listOf<ReserveResult>(reply, "status", this.#wish.items.length);
      complete = results.every(isHeld);
      deadlock = results.some((result) => result.status === "WOULD_DEADLOCK");
      first = results.find((result) => result.status === "WAITING");
    } else {
      const [one] = listOf<TransactionResult>(reply, "status", 1) as [TransactionResult];
      results = reservedBy(one);
      complete = one.status === "APPLIED";
      deadlock = one.status === "WOULD_DEADLOCK";
      first = one.status === "WAITING" ? one : undefined;
      explanation = one.explanation;
    }
    const had = results.some((result) => result.status === "ALREADY_HAD");
    const refused = results.filter((result) => !isHeld(result));
    return {
      results,
      complete,
      deadlock,
      sent: reply.sent,
      fresh: !had && !this.#uncertain,
      hadBefore: had && !this.#uncertain && !reply.repeated,
      tickets: typeof first?.ticket === "string" ? [first.ticket] : [],
      explanation,
      waiting: {
        resources: (refused.length > 0 ? refused : this.#wish.items).map((item) => item.resource),
        explanation: refused[0]?.explanation ?? explanation,
        place: first?.place ?? null,
        holder: refused[0]?.holder ?? null,
        holderExpiresAt: refused[0]?.holderExpiresAt ?? null,
        expectedBy: first?.expectedBy ?? null,
      },
    };
  }

  /**
   * Asks for the ticket of a transaction, which shows its result exactly. Null where it waits, or is no more: asking
   * anew keeps the place of a ticket that lives, and makes one where none does.
   */
  async #askTicket(name: string, holdMs: number): Promise<Answer | "ended" | null> {
    let reply: Reply;
    try {
      reply = await this.#transport.call(held(calls.ticket(name), holdMs / 1_000), this.#wish.signal);
    } catch (error) {
      if (error instanceof ApiError && error.code === "NOT_FOUND") return null;
      throw error;
    }
    const shown = objectOf<Ticket>(reply, "status");
    if (shown.status === "TIMED_OUT" || shown.status === "CANCELLED") return "ended";
    if (shown.status !== "ACQUIRED" || shown.transaction === null) return null;
    return {
      results: reservedBy(shown.transaction),
      complete: shown.transaction.status === "APPLIED",
      deadlock: false,
      sent: reply.sent,
      fresh: false,
      hadBefore: false,
      tickets: [],
      explanation: shown.transaction.explanation,
      waiting: {
        resources: [],
        explanation: "",
        place: null,
        holder: null,
        holderExpiresAt: null,
        expectedBy: null,
      },
    };
  }

  /** Gives back what was got, and the tickets. What cannot be given back now ends by itself. */
  async #giveUp(): Promise<void> {
    await ignoringFailures(releaseAll(this.#transport, this.#taken));
    if (this.#asking && this.#tickets.length === 0 && this.#wish.ownRequester) {
      // The call that was cut off may have been carried out: asking again shows its token or its ticket.
      await ignoringFailures(this.#askToGiveBack());
    }
    await this.#abandonTickets();
  }

  async #askToGiveBack(): Promise<void> {
    const call = within(this.#call(this.#wish.waitMs > 0 ? 1 : 0), ABANDON_TIMEOUT_MS);
    const answer = this.#read(await this.#transport.call(call));
    this.#tickets = answer.tickets;
    await releaseAll(this.#transport, answer.results.filter(isHeld));
  }

  async #abandonTickets(): Promise<void> {
    const tickets = this.#tickets;
    this.#tickets = [];
    for (const name of tickets) await ignoringFailures(abandon(this.#transport, name));
  }
}

/** What a transaction reserved; none while it waits. */
function reservedBy(one: TransactionResult): readonly ReserveResult[] {
  return one.requestType === "RESERVE" && Array.isArray(one.results) ? one.results : [];
}

/** Gives up a ticket whatever became of it: cancels it, or releases what it was served with. */
async function abandon(transport: Transport, name: string): Promise<void> {
  try {
    await transport.call(within(calls.cancel(name), ABANDON_TIMEOUT_MS));
  } catch (error) {
    if (!(error instanceof ApiError) || error.code !== "CONFLICT") throw error;
    const shown = objectOf<Ticket>(await transport.call(within(calls.ticket(name), ABANDON_TIMEOUT_MS)), "status");
    const results = shown.transaction === null ? [] : reservedBy(shown.transaction);
    const all = shown.reservation === null ? results : [...results, shown.reservation];
    await releaseAll(transport, all.filter(isHeld));
  }
}

async function releaseAll(transport: Transport, items: readonly ReleaseItem[]): Promise<void> {
  if (items.length > 0) await transport.call(within(calls.unreserve(items), ABANDON_TIMEOUT_MS));
}

async function ignoringFailures(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}
