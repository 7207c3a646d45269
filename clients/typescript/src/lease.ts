/// <reference lib="esnext.disposable" preserve="true" />
import type { Granted } from "./acquire.js";
import { Backoff } from "./backoff.js";
import * as calls from "./calls.js";
import { SLEEP_STEP_MS, now } from "./clock.js";
import { ApiError, HoldfastError, LeaseLostError } from "./errors.js";
import { type Renewed, renewOnce } from "./renew.js";
import { type Transport, listOf, within } from "./transport.js";
import type { ReleaseResult, ReserveResult } from "./types.js";
import type { Times } from "./wish.js";

/** Bounds of the pause between attempts to renew that failed. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1_000;
/**
 * Time for giving back; where it does not suffice the reservation ends by itself. Less where it counts as lost already:
 * then it is the service that is away, and the program waits to hear of the loss.
 */
const RELEASE_TIMEOUT_MS = 5_000;
const LOST_RELEASE_TIMEOUT_MS = 1_000;
const LOST_AT_RELEASE = "it was lost before it was given back: somebody else may have held it meanwhile";

/** The symbol of `await using`; the fallback is the one that compilers use where the engine has none. */
const asyncDispose: typeof Symbol.asyncDispose =
  (Symbol as { asyncDispose?: typeof Symbol.asyncDispose }).asyncDispose ??
  (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);

/**
 * What is held, from the grant to the release. It is renewed in the background at a third of its time to live.
 *
 * `await using lease = await client.hold(...)` gives it back at the end of the block, and throws {@link LeaseLostError}
 * there where the lease was lost meanwhile. The timers of a lease that is not released keep a process of Node alive.
 */
export class Lease implements AsyncDisposable {
  /** What is held, as it was granted: an item per resource. */
  readonly reservations: readonly ReserveResult[];
  readonly #transport: Transport;
  readonly #times: Times;
  readonly #loss = new AbortController();
  readonly #renewals = new AbortController();
  readonly #backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  #sent: number;
  #expiresAt: string | null;
  #waiting: number | null = null;
  #reason: string | null = null;
  #released = false;
  #renewTimer: ReturnType<typeof setTimeout> | undefined;
  #watchTimer: ReturnType<typeof setTimeout> | undefined;

  /** @internal */
  constructor(transport: Transport, granted: Granted, times: Times) {
    this.#transport = transport;
    this.#times = times;
    this.reservations = granted.results;
    this.#sent = granted.sent;
    this.#expiresAt = earliest(granted.results);
    this.#scheduleRenewal(() => this.#sent + times.renewalIntervalMs);
    this.#watch();
  }

  /** The name that is held, the first of several. */
  get resource(): string {
    return this.#first.resource;
  }

  /** The names that are held; of `mode: "first"` and `"any"` those that were free. */
  get resources(): readonly string[] {
    return this.reservations.map((result) => result.resource);
  }

  /** Who holds it, as others see it. */
  get requester(): string {
    return this.#first.requester;
  }

  /** The fencing token of the grant, the greatest of several: let what you protect refuse a lower one than it has seen. */
  get fence(): number {
    return Math.max(...this.reservations.map((result) => result.fencingToken ?? 0));
  }

  /** The fencing token of each name. */
  get fences(): ReadonlyMap<string, number> {
    return new Map(this.reservations.map((result) => [result.resource, result.fencingToken ?? 0]));
  }

  /** The slots that are held of pools. */
  get slots(): readonly string[] {
    return this.reservations.flatMap((result) => result.slots ?? []);
  }

  /** The first of {@link slots}. */
  get slot(): string | null {
    return this.slots[0] ?? null;
  }

  /** When it ends by itself unless it is renewed again, on the service's clock; of several names the earliest. */
  get expiresAt(): Date | null {
    return this.#expiresAt === null ? null : new Date(this.#expiresAt);
  }

  /** How many others waited for it at the last renewal; null before the first. */
  get waiting(): number | null {
    return this.#waiting;
  }

  /** Milliseconds until it counts as lost unless it is renewed again; 0 once it is lost. */
  get remainingMs(): number {
    return this.lost ? 0 : Math.max(this.#lossAt - now(), 0);
  }

  /**
   * Whether it is lost. It says so the grace before anybody else can have it, and it is exact whenever it is asked:
   * also right after the process or the machine was paused, before any timer could run.
   */
  get lost(): boolean {
    if (this.#reason === null && !this.#released && now() >= this.#lossAt)
      this.#lose("it could not be renewed in time");
    return this.#reason !== null;
  }

  /** Why it is lost; null while it is held. */
  get lostReason(): string | null {
    return this.lost ? this.#reason : null;
  }

  /** Aborted when the lease is lost, with {@link LeaseLostError} as its reason: give it to what has to stop then. */
  get signal(): AbortSignal {
    return this.#loss.signal;
  }

  /**
   * To be called before each step that must not be done twice.
   *
   * @throws {@link LeaseLostError} It is lost.
   */
  throwIfLost(): void {
    if (this.lost) throw this.#lostError();
  }

  /**
   * Renews now, for the whole time to live.
   *
   * @throws {@link LeaseLostError} It is lost.
   * @throws {@link HoldfastError} The service did not answer; the lease goes on until its deadline, and is renewed in
   * the background.
   */
  async renew(): Promise<void> {
    this.throwIfLost();
    try {
      this.#take(await renewOnce(this.#transport, this.reservations, this.#times, this.#renewals.signal));
    } catch (error) {
      if (error instanceof LeaseLostError) this.#lose(error.reason);
      if (!this.#released) throw error;
    }
    this.throwIfLost();
  }

  /**
   * Gives back. A second time does nothing.
   *
   * @throws {@link LeaseLostError} Somebody else may have held it before this call.
   * @throws {@link HoldfastError} The service did not answer in time: it ends by itself.
   */
  async release(): Promise<readonly ReleaseResult[]> {
    const wasLost = this.lost;
    if (this.#released) return [];
    this.#released = true;
    clearTimeout(this.#renewTimer);
    clearTimeout(this.#watchTimer);
    this.#renewals.abort();
    try {
      const timeout = wasLost ? LOST_RELEASE_TIMEOUT_MS : RELEASE_TIMEOUT_MS;
      const reply = await this.#transport.call(within(calls.unreserve(this.reservations), timeout));
      const results = listOf<ReleaseResult>(reply, "status");
      // A repeated call may find what an earlier attempt has released.
      if (!reply.repeated && results.some((result) => result.status !== "RELINQUISHED")) this.#lose(LOST_AT_RELEASE);
      if (this.#reason !== null) throw this.#lostError();
      return results;
    } catch (error) {
      if (error instanceof ApiError && error.code === "INVALID_RELEASE_TOKEN") this.#lose(LOST_AT_RELEASE);
      if (this.#reason !== null && error instanceof HoldfastError) throw this.#lostError(error);
      throw error;
    }
  }

  /**
   * Gives back at the end of a block of `await using`. Where the service does not answer it ends by itself, without an
   * error.
   *
   * @throws {@link LeaseLostError} It was lost. Where the block threw as well, the language makes a `SuppressedError`
   * of the two.
   */
  async [asyncDispose](): Promise<void> {
    try {
      await this.release();
    } catch (error) {
      if (error instanceof LeaseLostError || !(error instanceof HoldfastError)) throw error;
    }
  }

  get #first(): ReserveResult {
    return this.reservations[0] as ReserveResult;
  }

  /** When it counts as lost unless it is renewed, on our clock: counted from before the last renewal was sent. */
  get #lossAt(): number {
    return this.#sent + this.#times.lostAfterMs;
  }

  #lostError(cause?: unknown): LeaseLostError {
    const options = cause === undefined || cause instanceof LeaseLostError ? undefined : { cause };
    return new LeaseLostError(this.resources, this.#reason ?? "", options);
  }

  #lose(reason: string): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    clearTimeout(this.#renewTimer);
    clearTimeout(this.#watchTimer);
    this.#renewals.abort();
    this.#loss.abort(this.#lostError());
  }

  #take(renewed: Renewed): void {
    // Once lost or released it stays so, whatever answers still come.
    if (this.#released || this.lost) return;
    this.#sent = Math.max(this.#sent, renewed.sent);
    this.#expiresAt = earliest(renewed.results);
    this.#waiting = renewed.results.reduce((sum, result) => sum + (result.waiting ?? 0), 0);
  }

  #scheduleRenewal(due: () => number): void {
    if (this.#released || this.#reason !== null) return;
    const left = due() - now();
    this.#renewTimer = setTimeout(
      () => {
        if (due() > now()) this.#scheduleRenewal(due);
        else void this.#renewInBackground();
      },
      Math.min(Math.max(left, 0), SLEEP_STEP_MS),
    );
  }

  async #renewInBackground(): Promise<void> {
    try {
      this.#take(await renewOnce(this.#transport, this.reservations, this.#times, this.#renewals.signal));
      this.#backoff.reset();
      this.#scheduleRenewal(() => this.#sent + this.#times.renewalIntervalMs);
    } catch (error) {
      if (this.#released) return;
      if (error instanceof LeaseLostError) {
        this.#lose(error.reason);
        return;
      }
      const next = now() + this.#backoff.pause();
      this.#scheduleRenewal(() => Math.max(next, this.#sent + this.#times.renewalIntervalMs));
    }
  }

  /** Reports the loss in time, whatever a renewal is waiting for. */
  #watch(): void {
    if (this.#released || this.lost) return;
    const left = this.#lossAt - now();
    this.#watchTimer = setTimeout(() => this.#watch(), Math.min(Math.max(left, 0), SLEEP_STEP_MS));
  }
}

function earliest(results: readonly { readonly expiresAt: string | null }[]): string | null {
  const ends = results.map((result) => result.expiresAt).filter((end) => end !== null);
  // All in one form, so their order is that of their texts.
  return ends.sort()[0] ?? null;
}
