// The two calls that this page makes, and what a refusal looks like.
//
// The key travels in a header, never in an address. Without a key none is sent: a server without keys, or a session cookie,
// then decides.

const RESERVATIONS = '/api/v1/Reservation/activeReservations';
const EVENTS = '/api/v1/events';
const PATIENCE_MS = 30_000; // for a list, or for the head of a stream

/** No answer, or only part of one: the network, the server or our patience ended it. */
export class Unreachable extends Error {
  constructor(cause) {
    super('The server cannot be reached.', { cause });
  }
}

/** The server answered, and the answer is no. `message` is its own sentence. */
export class Refusal extends Error {
  constructor(status, message, retryAfterMs) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether repeating it with the same key is useless. */
  get isFinal() {
    return this.status === 401 || this.status === 403;
  }
}

export class Api {
  #key;
  #clock;

  constructor(key, clock) {
    this.#key = key;
    this.#clock = clock;
  }

  /**
   * Everything that is held now.
   *
   * @returns {Promise<{reservations: object[], asOf: number}>} `asOf`: the position to watch from, so that nothing is missed
   */
  async list(signal) {
    const patience = AbortSignal.timeout(PATIENCE_MS);
    const response = await this.#get(RESERVATIONS, {}, AbortSignal.any([signal, patience]));
    return response.json().catch(unreachable);
  }

  /**
   * Opens the event stream after `cursor`.
   *
   * A resume names its cursor in `Last-Event-ID`, as a browser's EventSource would: the server then never refuses it for want
   * of a free place, but ends it and asks for another try.
   *
   * @returns {Promise<ReadableStream<Uint8Array>>}
   */
  async events(cursor, isResume, signal) {
    const patience = new AbortController(); // for the head alone: the body is meant to last
    const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
    const path = isResume ? EVENTS : `${EVENTS}?lastEventId=${encodeURIComponent(cursor)}`;
    const headers = { Accept: 'text/event-stream', ...(isResume && { 'Last-Event-ID': cursor }) };
    try {
      const response = await this.#get(path, headers, AbortSignal.any([signal, patience.signal]));
      return response.body;
    } finally {
      clearTimeout(timer);
    }
  }

  async #get(path, headers, signal) {
    if (this.#key !== '') headers['X-Api-Key'] = this.#key;
    const sentAtMs = Date.now();
    const response = await fetch(path, { headers, signal, cache: 'no-store' }).catch(unreachable);
    this.#clock.learn(response, sentAtMs, Date.now());
    if (!response.ok) throw await refusalOf(response);
    return response;
  }
}

function unreachable(cause) {
  throw new Unreachable(cause);
}

async function refusalOf(response) {
  let message = `The server answered ${response.status}.`;
  try {
    message = (await response.json()).error.message ?? message;
  } catch {
    // Not our body: a proxy in between answered. Its status is all there is to tell.
  }
  const seconds = Number(response.headers.get('Retry-After'));
  return new Refusal(response.status, message, seconds > 0 ? seconds * 1000 : 0);
}
