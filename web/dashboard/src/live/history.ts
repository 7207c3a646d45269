// What happened before this page watched: the events that the service keeps for up to an hour.

import { call } from '../api/client';
import { serverNowMs } from '../api/clock';
import type { Shape } from '../api/types';
import { eventFromHistory, type StreamEvent } from './events';

const PATH = '/api/v1/events/history';
const PAGE = 1_000;
const KEPT_MS = 3_600_000;

export interface HistoryQuery {
  /** Milliseconds since the Unix epoch, on the server's clock. */
  fromMs: number;
  /** Only before this position. */
  before?: number;
  /** Exact names; none: all. */
  resources?: string[];
  types?: string[];
  /** Pages that are read at most: a busy tenant's history is long. */
  mostPages: number;
  signal?: AbortSignal;
}

/**
 * Events in order, oldest first.
 *
 * @returns `isWhole`: nothing was left out for want of pages
 * @throws as `call`
 */
export async function readHistory(query: HistoryQuery): Promise<{ events: StreamEvent[]; isWhole: boolean }> {
  const events: StreamEvent[] = [];
  let after: number | null = Math.max(0, Math.floor(query.fromMs * 1000));
  for (let page = 0; page < query.mostPages && after !== null; page++) {
    const read: Shape<'EventHistory'> = await call('GET', PATH, {
      query: { after, limit: PAGE, types: listOf(query.types), resources: listOf(query.resources) },
      ...(query.signal && { signal: query.signal }),
    });
    for (const event of read.events) {
      if (query.before !== undefined && Number(event.id) >= query.before) return { events, isWhole: true };
      events.push(eventFromHistory(event as Partial<StreamEvent>));
    }
    after = read.nextAfter ?? null;
  }
  return { events, isWhole: after === null };
}

/** A comma in a name is escaped; a star at its end would make it a prefix, which only finds more. */
function listOf(names: string[] | undefined): string | null {
  return names === undefined || names.length === 0 ? null : names.map((name) => name.replaceAll(',', '\\,')).join(',');
}

const FIRST_WINDOW_MS = 10_000;
const WINDOW_GROWS_BY = 6;
const PAGES_OF_WINDOW = 8;

/**
 * The latest events before a position, about `wanted` of them, oldest first. The history is read forward, so ever longer
 * windows before the position are.
 *
 * @returns `isStart`: there is nothing before them
 */
export async function readBefore(before: number, wanted: number, signal: AbortSignal): Promise<{ events: StreamEvent[]; isStart: boolean }> {
  const oldestMs = serverNowMs() - KEPT_MS;
  const endMs = before / 1000;
  for (let windowMs = FIRST_WINDOW_MS; ; windowMs *= WINDOW_GROWS_BY) {
    const fromMs = Math.max(oldestMs, endMs - windowMs);
    const { events } = await readHistory({ fromMs, before, mostPages: PAGES_OF_WINDOW, signal });
    const isStart = fromMs === oldestMs;
    if (events.length >= wanted || isStart) return { events, isStart };
  }
}
