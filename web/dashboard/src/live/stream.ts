// An event stream that comes back by itself: of reservations, or of a queue connection.

import { send, Refusal, Unreachable } from '../api/client';
import { EventStreamParser, type Frame } from './sse';

const HEAD_MS = 30_000; // for the head alone: the body is meant to last
const SILENCE_MS = 35_000; // the server beats every 15 s: two beats missed, and some slack
const FIRST_RETRY_MS = 2_000; // until the server has said what it wants
const LONGEST_RETRY_MS = 30_000;

export interface StreamListener {
  /** A try begins. May read what is there already, and gives the address to connect to. */
  begin(signal: AbortSignal): Promise<{ path: string; resumeFrom: string | null }>;
  /** The server answered: whatever comes is pushed from now on. */
  opened(): void;
  /** Some bytes arrived: events, or only a beat. `lastEventId` is where a resume would start. */
  heard(frames: Frame[], lastEventId: string | null, signal: AbortSignal): void | Promise<void>;
  /** It was lost, and the next try is in `waitMs`. */
  lost(why: Error | null, waitMs: number): void;
}

/**
 * Keeps a stream until `signal` is aborted.
 *
 * @throws {Refusal} one that repeating cannot change: signed out, or without the scope
 */
export async function keepStream(listener: StreamListener, signal: AbortSignal): Promise<void> {
  const wanted = { retryMs: FIRST_RETRY_MS };
  let failures = 0;
  while (!signal.aborted) {
    let why: Error | null = null;
    try {
      await connect(listener, wanted, signal, () => (failures = 0));
      failures += 1; // set back as soon as a stream came to life: only streams that end at once add up
    } catch (fault) {
      if (signal.aborted) return;
      if (!mayPass(fault)) throw fault;
      why = fault;
      failures += 1;
    }
    if (signal.aborted) return;
    const waitMs = Math.max(backOffMs(wanted.retryMs, failures), why instanceof Refusal ? why.retryAfterMs : 0);
    listener.lost(why, waitMs);
    await pause(waitMs, signal);
  }
}

async function connect(
  listener: StreamListener,
  wanted: { retryMs: number },
  signal: AbortSignal,
  onAlive: () => void,
): Promise<void> {
  const lost = new AbortController();
  const drop = (): void => lost.abort(new Unreachable('offline'));
  const either = AbortSignal.any([signal, lost.signal]);
  window.addEventListener('offline', drop);
  try {
    const { path, resumeFrom } = await listener.begin(either);
    const body = await open(path, resumeFrom, either);
    onAlive();
    listener.opened();
    const parser = new EventStreamParser();
    for await (const text of pieces(body)) {
      const frames = parser.push(text);
      wanted.retryMs = parser.retryMs ?? wanted.retryMs;
      await listener.heard(frames, parser.lastEventId, either);
    }
  } catch (fault) {
    throw lost.signal.aborted && !signal.aborted ? new Unreachable(fault) : fault;
  } finally {
    window.removeEventListener('offline', drop);
    lost.abort(); // whatever ended it, the server's place is given back
  }
}

async function open(path: string, resumeFrom: string | null, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(new Unreachable('no head in time')), HEAD_MS);
  // With this header the server never refuses for want of a free place: it ends the stream and asks for another try.
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  if (resumeFrom !== null) headers['Last-Event-ID'] = resumeFrom;
  try {
    const response = await send(path, { headers, signal: AbortSignal.any([signal, patience.signal]) });
    if (response.body === null) throw new Unreachable('a stream without a body');
    return response.body;
  } finally {
    clearTimeout(timer);
  }
}

/** The stream's text as it arrives; silence is taken for a dead connection, of which TCP may tell nothing for minutes. */
async function* pieces(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(() => reject(new Error('the stream fell silent')), SILENCE_MS);
      });
      const { done, value } = await Promise.race([reader.read(), silence])
        .catch((cause: unknown): never => { throw new Unreachable(cause); })
        .finally(() => clearTimeout(timer));
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    reader.cancel().catch(() => {}); // it may be broken already
  }
}

function mayPass(fault: unknown): fault is Error {
  if (fault instanceof Unreachable) return true;
  return fault instanceof Refusal && fault.status !== 401 && fault.status !== 403;
}

/** What the server asked for after a stream that lived; doubled for each failure after the first, spread to avoid a herd. */
function backOffMs(retryMs: number, failures: number): number {
  if (failures <= 1) return retryMs;
  const grown = Math.min(LONGEST_RETRY_MS, retryMs * 2 ** (failures - 1));
  return grown * (0.75 + Math.random() / 4);
}

/** Waits, but not past the moment when the network returns. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
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
