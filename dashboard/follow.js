// List, then watch, and come back by itself.
//
// The list names the position that it was read at, and the stream starts there, so nothing falls between them. A lost stream
// resumes at the last position that it confirmed. Only when the server says that it cannot (RESET_CURSOR) is the list read
// again.

import { Refusal, Unreachable } from './api.js';
import { EventStreamParser } from './sse.js';

const SILENCE_MS = 35_000; // the server beats every 15 s: two beats missed, and some slack
const FIRST_RETRY_MS = 2_000; // until the server has said what it wants
const LONGEST_RETRY_MS = 30_000;

/**
 * Follows a tenant until `signal` is aborted.
 *
 * @param {object} page what to tell: `connecting()`, `live()`, `waiting(why)`, `listed(list)`, `happened(event)`
 * @throws {Refusal} a final one: the key is wrong, or no longer good; any other error is a bug of this page
 */
export async function follow(api, page, signal) {
  const session = { cursor: null, resumable: false, retryMs: FIRST_RETRY_MS };
  let failures = 0;
  while (!signal.aborted) {
    page.connecting();
    let why = null;
    try {
      await oneConnection(api, page, session, signal, () => (failures = 0));
      failures += 1; // set back as soon as a stream came to life: only streams that end at once add up
    } catch (fault) {
      if (signal.aborted) return;
      const mayPass = fault instanceof Unreachable || (fault instanceof Refusal && !fault.isFinal);
      if (!mayPass) throw fault;
      if (!session.resumable) session.cursor = null; // never live so far: each try brings a fresh list, at least
      failures += 1;
      why = fault;
    }
    if (signal.aborted) return;
    const waitMs = Math.max(backOff(session.retryMs, failures), why?.retryAfterMs ?? 0);
    page.waiting(why?.message ?? null);
    await pause(waitMs, signal);
  }
}

/** From reading the list, if need be, to the end of the stream; a lost network ends it too. */
async function oneConnection(api, page, session, signal, onAlive) {
  const lost = new AbortController();
  const drop = () => lost.abort();
  const either = AbortSignal.any([signal, lost.signal]);
  window.addEventListener('offline', drop);
  try {
    if (session.cursor === null) await readList(api, page, session, either);
    const body = await api.events(session.cursor, session.resumable, either);
    const parser = new EventStreamParser();
    for await (const text of pieces(body)) {
      for (const frame of parser.push(text)) {
        const event = parsed(frame);
        if (event.type === 'connected') {
          session.resumable = true;
          onAlive();
          page.live();
        } else if (event.type === 'RESET_CURSOR') {
          session.cursor = null; // should the list fail now, the next connection begins with it
          page.happened(event);
          await readList(api, page, session, either);
        } else {
          page.happened(event);
        }
      }
      session.cursor = parser.lastEventId ?? session.cursor;
      session.retryMs = parser.retryMs ?? session.retryMs;
    }
  } finally {
    window.removeEventListener('offline', drop);
    lost.abort(); // whatever ended it, the server's place is given back
  }
}

async function readList(api, page, session, signal) {
  const list = await api.list(signal);
  session.cursor = String(list.asOf);
  page.listed(list);
}

/** The stream's text as it arrives; silence is taken for a dead connection, of which TCP may tell nothing for minutes. */
async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      let timer;
      const silence = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('the stream fell silent')), SILENCE_MS);
      });
      const { done, value } = await Promise.race([reader.read(), silence])
        .catch((cause) => { throw new Unreachable(cause); })
        .finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // it may be broken already
  }
}

/** A frame as an event. One that cannot be read is shown, not applied, and does not end the stream. */
function parsed({ type, text }) {
  try {
    const event = JSON.parse(text);
    return { ...event, type: type === 'message' ? event.type : type };
  } catch {
    return { type, unreadable: text };
  }
}

/** What the server asked for after a stream that lived; doubled for each failure after the first, spread to avoid a herd. */
function backOff(retryMs, failures) {
  if (failures <= 1) return retryMs;
  const grown = Math.min(LONGEST_RETRY_MS, retryMs * 2 ** (failures - 1));
  return grown * (0.75 + Math.random() / 4);
}

/** Waits, but not past the moment when the network returns. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      window.removeEventListener('online', end);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    window.addEventListener('online', end);
    signal.addEventListener('abort', end);
  });
}
