// The events of the last hour, newest parts first, so that what is left out of a very long history is the oldest.

import { serverNowMs } from '../../api/clock';
import { Refusal } from '../../api/client';
import type { StreamEvent } from '../../live/events';
import { readHistory } from '../../live/history';

const PARTS_MINUTES = [5, 10, 20, 25]; // back from now: an hour in all
const PAGES_OF_PART = 60; // a thousand events each
const MOST_TRIES = 5;
const TYPES = ['RESERVED', 'UNRESERVED', 'RESERVATION_EXPIRED', 'TRANSACTION_APPLIED', 'RESET', 'WAITING', 'WAIT_ENDED'];

/**
 * Gives each event of the last hour up to a position, part by part.
 *
 * @param onPart hears the events of a part, and since when everything is known with it, in milliseconds
 * @returns whether that is the whole hour
 * @throws as `call`
 */
export async function readHour(
  upTo: number,
  signal: AbortSignal,
  onPart: (events: StreamEvent[], fromMs: number) => void,
): Promise<boolean> {
  let before = upTo + 1;
  let endMs = Math.max(upTo / 1000, serverNowMs());
  for (const minutes of PARTS_MINUTES) {
    const fromMs = endMs - minutes * 60_000;
    const { events, isWhole } = await patiently(
      () => readHistory({ fromMs, before, types: TYPES, mostPages: PAGES_OF_PART, signal }),
      signal,
    );
    if (!isWhole) return false;
    onPart(events, fromMs);
    before = Math.floor(fromMs * 1000) + 1; // `fromMs` is exclusive
    endMs = fromMs;
  }
  return true;
}

/** A tenant of a small tier may ask only so often. */
async function patiently<T>(read: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read();
    } catch (fault) {
      if (!(fault instanceof Refusal) || fault.status !== 429 || tries === MOST_TRIES) throw fault;
      await new Promise((resolve) => setTimeout(resolve, fault.retryAfterMs));
      signal.throwIfAborted();
    }
  }
}
