// The server's clock, as well as this page can know it.
//
// Only Redis' clock decides when a reservation ends, and the computer in front of the person may be minutes off. So every
// answer's `Holdfast-Time` (microseconds) is compared with the middle of the call that brought it.

import { signal } from '@preact/signals';

let aheadMs = 0;
let bestRoundTripMs = Infinity;
const ROUND_TRIP_AGES_BY = 1.05; // per answer: an old good measurement gives way to a newer one that is nearly as good

/** Learns from an answer. Of many, those with the shortest round trip are believed. */
export function learnTime(headers: Headers, sentAtMs: number, receivedAtMs: number): void {
  const serverUs = Number(headers.get('Holdfast-Time'));
  if (!(serverUs > 0)) return;
  const roundTripMs = receivedAtMs - sentAtMs;
  bestRoundTripMs *= ROUND_TRIP_AGES_BY;
  if (roundTripMs > bestRoundTripMs) return;
  bestRoundTripMs = roundTripMs;
  aheadMs = serverUs / 1000 - (sentAtMs + receivedAtMs) / 2;
}

/** Now, in milliseconds since the Unix epoch, on the server's clock. */
export function serverNowMs(): number {
  return Date.now() + aheadMs;
}

/** The server's time in milliseconds, which changes once a second: what shows a countdown or an age reads it. */
export const nowMs = signal(serverNowMs());

const TICK_MS = 1_000;
setInterval(() => (nowMs.value = serverNowMs()), TICK_MS);
