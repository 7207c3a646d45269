// The one live picture of the tenant: a list, then the stream from where the list was read, so that nothing falls between.
//
// A lost stream resumes at the last position that it confirmed. Only when the server says that it cannot (RESET_CURSOR) is the
// list read again.

import { effect, signal, untracked } from '@preact/signals';

import { serverNowMs } from '../api/clock';
import { call, Refusal } from '../api/client';
import { inWords } from '../api/errors';
import { followSignInLinks, readSession, session, signedOutBecause, tenantId } from '../api/session';
import type { Shape } from '../api/types';
import { Board } from './board';
import { eventOf, forgetEvents, keepEvent, type StreamEvent } from './events';
import { paintSoon } from './paint';
import { forgetPositions, probe, streamIsQuiet, streamOpened, streamToldUpTo } from './probe';
import type { Frame } from './sse';
import { keepStream, type StreamListener } from './stream';
import { applyToTickets, forgetTickets, readTicketsSoon } from './tickets';
import { hasList, lostBecause, nextTryAtMs, rowsRead, stream } from './truth';

const PAGE = 1_000; // rows: the most that a page may have
const REST_AFTER_HIDDEN_MS = 60_000;

/** What is held. */
export const board = new Board();
/** Changes when what is held has, at most ten times a second. */
export const boardVersion = signal(0);

const isChanged = (): void => paintSoon(boardVersion);
board.listen({ changed: isChanged, filled: isChanged, replaced: isChanged });

/** Where the stream resumes; null: the list comes first. */
let cursor: string | null = null;
let isResume = false;

const listener: StreamListener = {
  async begin(stop) {
    if (stream.value !== 'open') stream.value = 'connecting';
    if (cursor === null) await readList(stop);
    const from = encodeURIComponent(cursor ?? '');
    return { path: isResume ? '/api/v1/events' : `/api/v1/events?lastEventId=${from}`, resumeFrom: isResume ? cursor : null };
  },

  opened() {
    isResume = true;
    stream.value = 'open';
    streamOpened();
    lostBecause.value = null;
    readTicketsSoon();
  },

  async heard(frames: Frame[], lastEventId, stop) {
    if (frames.length === 0) streamIsQuiet();
    let newest: StreamEvent | null = null;
    for (const frame of frames) {
      const event = eventOf(frame);
      if (event.type === 'connected') continue;
      keepEvent(event);
      if (event.type === 'RESET_CURSOR') {
        cursor = null; // should the list fail now, the next connection begins with it
        await readList(stop);
        readTicketsSoon();
        continue;
      }
      board.apply(event);
      applyToTickets(event);
      if (event.id !== null) newest = event;
    }
    if (lastEventId === null) return;
    cursor = lastEventId;
    const lateMs = newest?.timestamp ? serverNowMs() - Date.parse(newest.timestamp) : null;
    streamToldUpTo(Number(lastEventId), lateMs);
  },

  lost(why, waitMs) {
    if (!isResume) cursor = null; // never live so far: each try brings a fresh list
    rowsRead.value = null;
    stream.value = 'lost';
    lostBecause.value = why === null ? null : inWords(why);
    nextTryAtMs.value = Date.now() + waitMs;
  },
};

/** Everything that is held, page by page, so that the first rows are seen at once. */
async function readList(stop: AbortSignal): Promise<void> {
  rowsRead.value = 0;
  let asOf: number | null = null;
  let next: string | null = null;
  do {
    const page: Shape<'ActiveReservations'> = await call('GET', '/api/v1/Reservation/activeReservations', {
      query: { limit: PAGE, cursor: next }, signal: stop,
    });
    if (asOf === null) board.start(page.asOf);
    asOf ??= page.asOf;
    board.fill(page.reservations);
    rowsRead.value = board.size;
    next = page.nextCursor ?? null;
  } while (next !== null);
  cursor = String(asOf);
  hasList.value = true;
  rowsRead.value = null;
}

let running: AbortController | null = null;

function start(): void {
  const own = new AbortController();
  running = own;
  void keepStream(listener, own.signal).catch((fault: unknown) => {
    // Signed out elsewhere, or the key lost its scope. Anything else is a fault of this page and belongs in the console.
    if (!(fault instanceof Refusal)) throw fault;
    signedOutBecause.value = fault.message;
    session.value = null;
  });
  void probe(own.signal);
}

function stop(): void {
  running?.abort();
  running = null;
}

function forget(): void {
  cursor = null;
  isResume = false;
  hasList.value = false;
  rowsRead.value = null;
  forgetPositions();
  forgetTickets();
  forgetEvents();
  board.start(0);
}

/** Follows whoever is signed in, from now on. */
export function followSession(): void {
  effect(() => {
    const current = tenantId.value;
    // What starting reads is no reason to start again.
    untracked(() => {
      stop();
      forget();
      if (current !== null) start();
    });
  });
  restWhileHidden();
  void followSignInLinks().then(readSession).catch(retryFirstRead);
}

/** The very first question failed: nothing is known yet, so it is asked again until there is an answer. */
function retryFirstRead(): void {
  stream.value = 'lost';
  nextTryAtMs.value = Date.now() + 2_000;
  setTimeout(() => void readSession().catch(retryFirstRead), 2_000);
}

/** A browser opens six connections to a server over HTTP/1.1; tabs that nobody sees must not keep them all. */
function restWhileHidden(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) {
      timer = setTimeout(() => {
        if (running === null) return;
        stop();
        stream.value = 'resting';
      }, REST_AFTER_HIDDEN_MS);
    } else if (running === null && session.value) {
      stream.value = 'connecting';
      start();
    }
  });
}
