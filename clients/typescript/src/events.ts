import { Backoff, jittered, sleep } from "./backoff.js";
import { paths } from "./calls.js";
import { ApiError, HoldfastError, UnreachableError, isTemporary } from "./errors.js";
import { type Frame, Parser, eventOf } from "./sse.js";
import { type Transport, connectionFailure, refusal } from "./transport.js";
import type { HoldfastEvent } from "./types.js";

/** Silence after which a stream counts as dead: three of the service's signs of life, which come every 15 s. */
const SILENCE_MS = 45_000;
/** Bounds of the pause between two attempts to connect. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;

/** Which events a stream carries, and from where on. */
export interface EventOptions {
  /**
   * The position after which it begins: of an event, of a listing (`asOf`), or of an earlier stream. Without it: what
   * happens from now on. One that is too old or unknown is answered with an event of the kind `reset`.
   */
  readonly since?: number | string;
  /** Types to pass, all without it. */
  readonly types?: readonly string[];
  /** Names to pass; a trailing `*` is a prefix. */
  readonly resources?: readonly string[];
  /** Of platform events: slugs or ids to pass. */
  readonly companies?: readonly string[];
  /** Ends the stream: what waits for an event rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** An open connection. */
interface Connection {
  readonly url: string;
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly parser: Parser;
  readonly abort: AbortController;
}

/**
 * A tenant's events in order, each once, across lost connections and replaced replicas.
 *
 * It connects at the first event that is asked for; after `await stream.open()` nothing is missed that happens from
 * then on.
 */
export class EventStream implements AsyncIterableIterator<HoldfastEvent, undefined> {
  readonly #transport: Transport;
  readonly #path: string;
  readonly #signal: AbortSignal | undefined;
  readonly #closed = new AbortController();
  readonly #backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  #position: string | null;
  #retryMs = FIRST_PAUSE_MS;
  #dueMs = 0;
  #begun = false;
  #ready: Frame[] = [];
  #connection: Connection | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(transport: Transport, options: EventOptions) {
    const { since, types = [], resources = [], companies = [] } = options;
    this.#transport = transport;
    this.#signal = options.signal;
    this.#position = since === undefined ? null : String(since);
    const query = Object.entries({ types, resources, companies }).flatMap(([name, values]) => {
      if (typeof values === "string") throw new TypeError(`${name} is one text; give a list of texts`);
      return values.map((value) => `${name}=${encodeURIComponent(value.replaceAll(",", "\\,"))}`);
    });
    this.#path = paths.events + (query.length > 0 ? `?${query.join("&")}` : "");
    const aborted = (): void => this.#closed.abort(options.signal?.reason);
    if (options.signal?.aborted) aborted();
    options.signal?.addEventListener("abort", aborted, { once: true, signal: this.#closed.signal });
  }

  /** The position up to which events were seen: give it to `events({ since })` to go on here. */
  get position(): number | null {
    return this.#position !== null && /^\d+$/.test(this.#position) ? Number(this.#position) : null;
  }

  /**
   * Connects: what happens from then on is not missed.
   *
   * @throws {@link HoldfastError} Connecting anew would fail again: the credential, the filter, the limit of streams.
   */
  async open(): Promise<this> {
    await this.#inTurn(async () => {
      while (!this.#begun && !this.#closed.signal.aborted) await this.#step();
    });
    return this;
  }

  /**
   * The next event.
   *
   * @throws {@link HoldfastError} Connecting anew would fail again: the credential, the filter, the limit of streams.
   */
  next(): Promise<IteratorResult<HoldfastEvent, undefined>> {
    return this.#inTurn(async () => {
      for (;;) {
        if (this.#closed.signal.aborted) {
          this.#signal?.throwIfAborted();
          return { done: true, value: undefined };
        }
        const frame = this.#ready.shift();
        if (frame === undefined) {
          await this.#step();
          continue;
        }
        if (frame.id !== null) this.#position = frame.id;
        const event = eventOf(frame);
        if (event !== null) {
          this.#backoff.reset();
          return { done: false, value: event };
        }
      }
    });
  }

  /** Ends the stream, as the end of a `for await` does. */
  async return(): Promise<IteratorResult<HoldfastEvent, undefined>> {
    this.close();
    return { done: true, value: undefined };
  }

  /** Ends the stream; what waits for an event gets none. */
  close(): void {
    this.#closed.abort();
    this.#drop();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One after the other, so that two readers share the stream without a hole. */
  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #step(): Promise<void> {
    if (this.#connection === null) await this.#connect();
    else await this.#read(this.#connection);
  }

  async #read(connection: Connection): Promise<void> {
    const silence = setTimeout(() => connection.abort.abort(new Error("the stream is silent")), SILENCE_MS);
    try {
      const { done, value } = await connection.reader.read();
      if (!done) {
        const frames = connection.parser.feed(value);
        this.#begun ||= frames.some((frame) => frame.id !== null);
        this.#retryMs = connection.parser.retryMs ?? this.#retryMs;
        this.#ready.push(...frames);
        // Known before its events are read, so that the position is right as soon as the stream is open.
        while (this.#ready[0] !== undefined && this.#ready[0].type === null) {
          const { id } = this.#ready.shift() as Frame;
          if (id !== null) this.#position = id;
        }
        return;
      }
    } catch {
      this.#transport.failed(connection.url);
    } finally {
      clearTimeout(silence);
    }
    this.#drop();
  }

  async #connect(): Promise<void> {
    const { url } = this.#transport;
    let failure: HoldfastError;
    try {
      await sleep(this.#dueMs, this.#closed.signal);
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(new Error("no answer")), SILENCE_MS);
      const headers = {
        Accept: "text/event-stream",
        ...(this.#position === null ? {} : { "Last-Event-ID": this.#position }),
      };
      const signal = AbortSignal.any([abort.signal, this.#closed.signal]);
      const response = await this.#transport
        .stream(url, this.#path, headers, signal)
        .finally(() => clearTimeout(timer));
      if (response.status === 200 && response.body !== null) {
        this.#begun = false;
        this.#connection = { url, reader: response.body.getReader(), parser: new Parser(), abort };
        this.#dueMs = this.#pause(0);
        return;
      }
      failure = refusal(url, response.status, response.headers, await response.text());
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      const { reason, cause } = connectionFailure(error);
      failure = new UnreachableError(`${url} is not reached: ${reason}`, { cause });
    }
    if (!isTemporary(failure)) throw failure;
    this.#transport.failed(url);
    this.#dueMs = this.#pause(failure instanceof ApiError ? (failure.retryAfter ?? 0) * 1_000 : 0);
  }

  /**
   * Milliseconds before the next connection. What the service asked for spreads the streams of a replica that leaves;
   * the backoff spares one that is away.
   */
  #pause(askedMs: number): number {
    return Math.max(Math.min(jittered(Math.min(this.#retryMs, LONGEST_PAUSE_MS)), this.#backoff.pause()), askedMs);
  }

  #drop(): void {
    const connection = this.#connection;
    this.#connection = null;
    if (connection !== null) {
      connection.abort.abort();
      connection.reader.cancel().catch(() => undefined);
    }
  }
}
