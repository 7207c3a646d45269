// Asks what the stream cannot tell: whether the replica reaches its Redis, and how far the tenant has got.

import { signal } from '@preact/signals';

import { serverNowMs } from '../api/clock';
import { Refusal } from '../api/client';
import { readSession, session } from '../api/session';
import { behindMs, isCaughtUp, replica, stream, trueAsOfMs } from './truth';

const READY_EVERY_MS = 2_000;
const SESSION_EVERY_MS = 10_000; // a call of the tenant's rate, so seldom
const PATIENCE_MS = 4_000;
const BEAT_MS = 14_000; // the server beats after 15 s of silence
const LATE_FROM_MS = 2_000; // an event older than this at its arrival: the stream has more to tell

/** The highest position that the stream has told of, or from which it started. */
export const streamPosition = signal(0);
let latestKnown = 0;
/** What the stream has to tell before it has caught up; null: not known yet. */
let toCatchUp: number | null = null;
let openedAtMs = 0;
let sessionReadAtMs = -Infinity;

/** The stream was opened: whether it is whole is another question. */
export function streamOpened(): void {
  isCaughtUp.value = false;
  toCatchUp = null;
  openedAtMs = performance.now();
  void compare();
}

/** The stream beats without an event, which it does only when it has had nothing to say for a while. */
export function streamIsQuiet(): void {
  if (performance.now() - openedAtMs >= BEAT_MS) isCaughtUp.value = true;
}

/** The stream has told all up to a position; the newest of it happened `lateMs` ago (null: nothing new came). */
export function streamToldUpTo(position: number, lateMs: number | null): void {
  streamPosition.value = Math.max(streamPosition.value, position);
  if (lateMs !== null && lateMs >= LATE_FROM_MS) behindMs.value = lateMs;
  else if (streamPosition.value >= latestKnown || lateMs !== null) behindMs.value = 0;
  if (toCatchUp !== null && streamPosition.value >= toCatchUp) isCaughtUp.value = true;
}

/** The tenant's positions are of one tenant: another one begins anew. */
export function forgetPositions(): void {
  streamPosition.value = 0;
  latestKnown = 0;
  behindMs.value = 0;
}

/** Probes until `stop` is aborted. */
export async function probe(stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    await askReplica(stop);
    const isDue = performance.now() - sessionReadAtMs >= SESSION_EVERY_MS || toCatchUp === null;
    if (isDue && isHealthy()) await compare();
    if (isHealthy() && stream.value === 'open' && isCaughtUp.value && behindMs.value === 0) trueAsOfMs.value = serverNowMs();
    await new Promise((resolve) => setTimeout(resolve, READY_EVERY_MS));
  }
}

function isHealthy(): boolean {
  return typeof replica.value === 'object' && replica.value.redis;
}

async function askReplica(stop: AbortSignal): Promise<void> {
  try {
    const patience = AbortSignal.any([stop, AbortSignal.timeout(PATIENCE_MS)]);
    const response = await fetch('/readyz', { cache: 'no-store', signal: patience });
    const said = (await response.json()) as { redis?: boolean; draining?: boolean };
    const next = { redis: said.redis === true, draining: said.draining === true };
    const known = replica.value;
    if (typeof known !== 'object' || known.redis !== next.redis || known.draining !== next.draining) replica.value = next;
  } catch {
    if (!stop.aborted) replica.value = 'unreachable';
  }
}

/** Whether the stream has told all. Positions are microseconds of Redis' clock, so their difference is a time. */
async function compare(): Promise<void> {
  sessionReadAtMs = performance.now();
  try {
    const latest = await readSession();
    if (latest === null || !session.value) return;
    latestKnown = Math.max(latestKnown, latest);
    toCatchUp ??= latest;
    if (streamPosition.value >= toCatchUp) isCaughtUp.value = true;
    // What was under way when the answer was made is about to come.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    if (stream.value !== 'open' || streamPosition.value === 0) return;
    behindMs.value = streamPosition.value >= latest ? 0 : serverNowMs() - latest / 1000;
  } catch (fault) {
    if (fault instanceof Refusal && fault.status === 401) return; // the session has told everybody already
  }
}
