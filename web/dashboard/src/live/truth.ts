// What this page may say of itself. It never says "Live" over what may be stale.
//
// Live needs three proofs at once: the stream was heard within the time of its beat, the replica said within the last seconds
// that Redis answers it, and the stream has told all that the tenant's latest position says has happened: at its opening, and since.

import { computed, signal } from '@preact/signals';

import { nowMs } from '../api/clock';
import { session } from '../api/session';
import { age, count } from '../ui/format';

export type TruthState =
  | 'signed-out' | 'connecting' | 'loading' | 'live' | 'behind' | 'redis-away' | 'draining' | 'reconnecting' | 'resting';

export interface Truth {
  state: TruthState;
  /** A word or two, for the place beside the name. */
  label: string;
  /** What it means for the person; null when all is well. */
  notice: string | null;
}

export type StreamState = 'connecting' | 'open' | 'lost' | 'resting';

/** The event stream's connection. */
export const stream = signal<StreamState>('connecting');
/** Why it was lost, for people. */
export const lostBecause = signal<string | null>(null);
/** Until when the page waits before the next try, on this computer's clock. */
export const nextTryAtMs = signal(0);
/** Rows read so far of a list that is being read; null: none is. */
export const rowsRead = signal<number | null>(null);
/** Whether a whole list was ever read. */
export const hasList = signal(false);
/** When the page last knew that what it shows is all that is so, on the server's clock. */
export const trueAsOfMs = signal(0);

/** What the replica last said of itself. */
export const replica = signal<{ redis: boolean; draining: boolean } | 'unreachable' | 'unknown'>('unknown');
/** How far the stream is behind the tenant's latest position, in milliseconds. */
export const behindMs = signal(0);

/** Whether the stream, since it was opened, has told all that had happened by then. */
export const isCaughtUp = signal(false);

const BEHIND_FROM_MS = 2_000;

export const truth = computed<Truth>(() => {
  if (session.value === undefined) {
    const notice = stream.value === 'lost' ? 'The server cannot be reached. Trying again every few seconds.' : null;
    return { state: 'connecting', label: 'Connecting', notice };
  }
  if (session.value === null) return { state: 'signed-out', label: 'Signed out', notice: null };
  const said = replica.value;
  const since = (): string => (hasList.value ? ` What you see is ${age(nowMs.value - trueAsOfMs.value)} old.` : '');
  if (stream.value === 'resting') {
    return { state: 'resting', label: 'Resting', notice: `This tab was hidden, so it gave its place on the stream back.${since()}` };
  }
  if (said === 'unreachable' || (typeof said === 'object' && said.redis && stream.value === 'lost')) {
    const tries = Math.max(0, Math.ceil((nextTryAtMs.value - Date.now()) / 1000));
    const why = lostBecause.value ?? 'The connection to the server was lost.';
    return { state: 'reconnecting', label: 'Reconnecting', notice: `${why} ${tries > 0 ? `Next try in ${tries} s.` : 'Trying again.'}${since()}` };
  }
  if (typeof said === 'object' && !said.redis) {
    return {
      state: 'redis-away',
      label: 'Redis is away',
      notice: `The server does not reach Redis: nothing can be reserved or released until it is back.${since()} Countdowns go on, but what ends is not told.`,
    };
  }
  if (rowsRead.value !== null) {
    return { state: 'loading', label: 'Loading', notice: rowsRead.value === 0 ? null : `Reading what is held: ${count(rowsRead.value)} so far.` };
  }
  if (stream.value !== 'open' || said === 'unknown' || !isCaughtUp.value) {
    return { state: 'connecting', label: 'Connecting', notice: hasList.value ? `Catching up.${since()}` : null };
  }
  if (typeof said === 'object' && said.draining) {
    return { state: 'draining', label: 'Moving', notice: 'The replica behind this page is being stopped. The page moves to another one by itself.' };
  }
  if (behindMs.value >= BEHIND_FROM_MS) {
    return { state: 'behind', label: 'Behind', notice: `Events arrive late: this page is ${age(behindMs.value)} behind.` };
  }
  return { state: 'live', label: 'Live', notice: null };
});
