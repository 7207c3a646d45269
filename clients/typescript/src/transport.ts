import { Backoff, sleep } from "./backoff.js";
import { now } from "./clock.js";
import {
  ApiError,
  HoldfastError,
  OutcomeUnknownError,
  UnexpectedAnswerError,
  UnreachableError,
  asObject,
} from "./errors.js";

/** Timeout of one attempt, connection included, unless the call says otherwise. */
const ATTEMPT_TIMEOUT_MS = 5_000;
/** Time for all attempts of a call together: a rolling restart of the service passes unseen. */
const CALL_TIMEOUT_MS = 15_000;
/** Attempts while nothing accepts a connection: a service that is not there at all is reported within a second or two. */
const CONNECT_ATTEMPTS = 4;
/** Bounds of the pause between attempts. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** Time beyond a held answer's own before the attempt is given up. */
const HOLD_SLACK_MS = 10_000;
/** Most bytes of an answer: a page of a thousand rows is far below. */
const ANSWER_BYTES = 64 << 20;
const DEFAULT_URL = "http://127.0.0.1:8080";
/** Errors of Node's connections that come before anything is sent. */
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** Where the service is, and how it is called. */
export interface ClientOptions {
  /**
   * The service's address; of several, one per replica, the next is asked where one does not answer. Without it
   * `HOLDFAST_URL` of the environment, in a browser the page's own origin, else `http://127.0.0.1:8080`.
   */
  readonly url?: string | readonly string[];
  /**
   * An API key or an exchanged token. Without it `HOLDFAST_KEY` of the environment, else none: in a browser the
   * session's cookie counts then, and a service with `HOLDFAST_AUTH=open` needs none.
   */
  readonly key?: string;
  /** Another `fetch`, with settings of its own. */
  readonly fetch?: typeof globalThis.fetch;
}

/** One call: what to send, and how patiently. */
export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** Begins with `/` and is percent-encoded. */
  readonly path: string;
  readonly body?: unknown;
  /** False where carrying it out twice is not the same as once: it is repeated only if nothing was carried out. */
  readonly safe?: boolean;
  readonly attemptTimeoutMs?: number;
  readonly timeoutMs?: number;
  readonly connectAttempts?: number;
}

/** An answer below 400. */
export interface Reply {
  /** When the answered attempt was sent, on our clock: what it granted began then or later. */
  readonly sent: number;
  /** Whether an earlier attempt may have been carried out, so that this answer may show its effect. */
  readonly repeated: boolean;
  readonly url: string;
  readonly body: unknown;
}

type Attempt =
  | { readonly url: string; readonly status: number; readonly headers: Headers; readonly text: string }
  | { readonly url: string; readonly reason: string; readonly sent: boolean; readonly cause: unknown };

/** A call whose answer the service holds back for up to `seconds`. */
export function held(call: Call, seconds: number): Call {
  const whole = Math.floor(seconds);
  if (whole <= 0) return call;
  const patience = whole * 1_000 + HOLD_SLACK_MS;
  const path = `${call.path}?hold=${whole}`;
  return { ...call, path, attemptTimeoutMs: patience, timeoutMs: Math.max(CALL_TIMEOUT_MS, patience) };
}

/** A call with all its attempts within so many milliseconds; a service that is not there is asked until then. */
export function within(call: Call, timeoutMs: number): Call {
  return { ...call, timeoutMs, connectAttempts: Number.MAX_SAFE_INTEGER };
}

/** Calls over HTTP, and the rules of retrying. */
export class Transport {
  readonly #urls: readonly string[];
  readonly #key: string | null;
  readonly #fetch: typeof globalThis.fetch;
  #current = 0;

  constructor(options: ClientOptions) {
    const given = options.url ?? environment("HOLDFAST_URL") ?? pageOrigin() ?? DEFAULT_URL;
    this.#urls = (typeof given === "string" ? [given] : given).map(checkedUrl);
    if (this.#urls.length === 0)
      throw new TypeError("url is empty; it is an address such as http://127.0.0.1:8080, or several");
    this.#key = checkedKey(options.key ?? environment("HOLDFAST_KEY"));
    this.#fetch = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  /** The address that is asked next. */
  get url(): string {
    return this.#urls[this.#current % this.#urls.length] as string;
  }

  /** Has the next address asked, unless another call saw to that already. */
  failed(url: string): void {
    if (this.url === url) this.#current = (this.#current + 1) % this.#urls.length;
  }

  /**
   * Makes a call, again where that is safe and useful: no connection, no answer, 502, 503, 504, or the rate's 429.
   * Pauses grow with jitter, and are never shorter than the service's `Retry-After`.
   *
   * @throws {@link HoldfastError} Of several attempts, what the last one ran into; {@link OutcomeUnknownError} if any
   * may have been carried out. The signal's reason once that is aborted: what was sent may be carried out.
   *
   * @param graceMs How long an attempt under way goes on for once the signal is aborted: of a call that takes
   * something, which what gives that back must not overtake.
   */
  async call(call: Call, signal?: AbortSignal, graceMs = 0): Promise<Reply> {
    const end = now() + (call.timeoutMs ?? CALL_TIMEOUT_MS);
    const safe = call.safe ?? true;
    const backoff = new Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    let unsent = 0;
    let uncertain = false;
    for (;;) {
      signal?.throwIfAborted();
      const sent = now();
      const timeout = Math.max(Math.min(call.attemptTimeoutMs ?? ATTEMPT_TIMEOUT_MS, end - sent), 1);
      const attempt = await this.#attempt(call, timeout, signal, graceMs);
      let failure: HoldfastError;
      let again: boolean;
      let askedPause = 0;
      if ("status" in attempt) {
        if (attempt.status >= 200 && attempt.status < 300) {
          return { sent, repeated: uncertain, url: attempt.url, body: parsed(attempt.text, attempt.url) };
        }
        const refused = refusal(attempt.url, attempt.status, attempt.headers, attempt.text);
        if (!(refused instanceof ApiError)) throw refused;
        failure = refused;
        const nothingChanged = attempt.status < 500 || attempt.status === 503;
        uncertain ||= !nothingChanged;
        again = refused.isTemporary && attempt.status !== 500 && (safe || nothingChanged);
        askedPause = (refused.retryAfter ?? 0) * 1_000;
        if (uncertain && attempt.status > 500) {
          const message = `${attempt.url}: ${refused.message}; whether it was carried out is unknown`;
          failure = new OutcomeUnknownError(message, { cause: refused });
        }
        if ([502, 503, 504].includes(attempt.status)) this.failed(attempt.url);
      } else {
        this.failed(attempt.url);
        uncertain ||= attempt.sent;
        if (!attempt.sent) unsent += 1;
        again = attempt.sent ? safe : unsent < (call.connectAttempts ?? CONNECT_ATTEMPTS);
        failure = uncertain
          ? new OutcomeUnknownError(
              `${attempt.url} gave no answer: ${attempt.reason}; whether the call was carried out is unknown`,
              { cause: attempt.cause },
            )
          : new UnreachableError(`${attempt.url} is not reached: ${attempt.reason}`, {
              cause: attempt.cause,
            });
      }
      const pause = Math.max(backoff.pause(), askedPause);
      if (!again || pause >= end - now()) throw failure;
      await sleep(pause, signal);
    }
  }

  /** Opens a stream at `url`: the response, whose body goes on. */
  stream(url: string, path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    return this.#fetch(url + path, {
      headers: { ...this.#headers(), ...headers },
      cache: "no-store",
      redirect: "manual",
      signal,
    });
  }

  #headers(): Record<string, string> {
    return this.#key === null ? {} : { "X-Api-Key": this.#key };
  }

  async #attempt(
    call: Call,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    graceMs: number,
  ): Promise<Attempt> {
    const url = this.url;
    const timeout = new AbortController();
    let grace: ReturnType<typeof setTimeout> | undefined;
    const aborted = (): void => {
      if (graceMs === 0) timeout.abort(signal?.reason);
      else grace = setTimeout(() => timeout.abort(signal?.reason), graceMs);
    };
    signal?.addEventListener("abort", aborted, { once: true });
    const timer = setTimeout(
      () => timeout.abort(new Error(`no answer within ${(timeoutMs / 1_000).toFixed(1)} s`)),
      timeoutMs,
    );
    try {
      const response = await this.#fetch(url + call.path, {
        method: call.method,
        headers: {
          ...this.#headers(),
          ...(call.body === undefined ? {} : { "Content-Type": "application/json" }),
        },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
        cache: "no-store",
        redirect: "manual",
        signal: timeout.signal,
      });
      return { url, status: response.status, headers: response.headers, text: await boundedText(response) };
    } catch (error) {
      signal?.throwIfAborted();
      return { url, ...connectionFailure(error) };
    } finally {
      clearTimeout(timer);
      clearTimeout(grace);
      signal?.removeEventListener("abort", aborted);
    }
  }
}

/** Why a connection failed, and whether something may have been sent over it. */
export function connectionFailure(error: unknown): { reason: string; sent: boolean; cause: unknown } {
  const cause = asObject(asObject(error)["cause"]);
  const code = typeof cause["code"] === "string" ? cause["code"] : "";
  const message = typeof cause["message"] === "string" && cause["message"] !== "" ? cause["message"] : code;
  return { reason: message || String(asObject(error)["message"] ?? error), sent: !UNSENT.has(code), cause: error };
}

/** The error for an answer that is no success. */
export function refusal(url: string, status: number, headers: Headers, text: string): HoldfastError {
  if (status < 400) {
    const what = status >= 300 ? `a redirection to ${headers.get("location")}` : `status ${status}`;
    return new UnexpectedAnswerError(`${url} gave an answer that is none of Holdfast's: ${what}`);
  }
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = null;
  }
  const retryAfter = headers.get("retry-after");
  return new ApiError(status, body, retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null);
}

/** The whole body as a text, up to a bound. */
async function boundedText(response: Response): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let length = 0;
  let text = "";
  for await (const piece of pieces(response.body)) {
    length += piece.length;
    if (length > ANSWER_BYTES) throw new Error(`the answer is longer than ${ANSWER_BYTES} bytes`);
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** The pieces of a body. Not every browser iterates streams itself. */
async function* pieces(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parsed(text: string, url: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UnexpectedAnswerError(`${url} gave an answer that is none of Holdfast's: ${String(error)}`, {
      cause: error,
    });
  }
}

/** A reply's list, whose every item has a text in the field `mark`. */
export function listOf<Item>(reply: Reply, mark: keyof Item & string, length?: number): readonly Item[] {
  const { body, url } = reply;
  const isOne = (item: unknown): boolean => typeof asObject(item)[mark] === "string";
  if (!Array.isArray(body) || !body.every(isOne) || (length !== undefined && body.length !== length)) {
    throw new UnexpectedAnswerError(`${url} gave an answer that is none of Holdfast's: no list of results`);
  }
  return body as Item[];
}

/** A reply's object, which has the field `mark`. */
export function objectOf<Item>(reply: Reply, mark: keyof Item & string): Item {
  if (!(mark in asObject(reply.body))) {
    throw new UnexpectedAnswerError(`${reply.url} gave an answer that is none of Holdfast's: it has no ${mark}`);
  }
  return reply.body as Item;
}

function checkedUrl(given: string): string {
  const url = given.trim().replace(/\/+$/, "");
  const fault = (what: string): TypeError =>
    new TypeError(`the URL of the service${what}; it is written like http://127.0.0.1:8080`);
  let read: URL;
  try {
    read = new URL(url);
  } catch {
    throw fault(`, ${JSON.stringify(url)}, cannot be read`);
  }
  if (read.protocol !== "http:" && read.protocol !== "https:") throw fault(", has a scheme other than http and https");
  if (read.username !== "" || read.password !== "")
    throw fault(" has a user or a password in it; the key is an option of its own");
  if (read.search !== "" || read.hash !== "") throw fault(`, ${JSON.stringify(url)}, has a query`);
  return url;
}

function checkedKey(given: string | undefined): string | null {
  const key = given?.trim() ?? "";
  if (key === "") return null;
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new TypeError("the key has characters that no key has; it is one word, hf_live_...");
  return key;
}

/** A variable of the process; none in a browser. */
export function environment(name: string): string | undefined {
  const process = asObject((globalThis as Record<string, unknown>)["process"]);
  const value = asObject(process["env"])[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function pageOrigin(): string | undefined {
  const origin = asObject((globalThis as Record<string, unknown>)["location"])["origin"];
  return typeof origin === "string" && origin.startsWith("http") ? origin : undefined;
}
