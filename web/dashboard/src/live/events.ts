// Events as the stream gives them, and those that this page keeps.

import { signal } from '@preact/signals';

import type { ReservationEvent } from '../api/types';
import type { Frame } from './sse';
import { paintSoon } from './paint';

/** An event of any type. Those of the tenant's own types have `data` and `companyId`; of the others, see the API. */
export type StreamEvent = Omit<Partial<ReservationEvent>, 'type' | 'id'> & {
  type: string;
  /** Null: a refusal, which is told live and not kept. */
  id: string | null;
  data?: unknown;
  companyId?: string | null;
  /** Its text, if it is not what this page can read. */
  unreadable?: string;
  /** A number of this page, unique and growing with the order of arrival. */
  serial: number;
};

let serials = 0;

/** A frame as an event. One that cannot be read is shown, not applied, and does not end the stream. */
export function eventOf({ type, text }: Frame): StreamEvent {
  serials += 1;
  try {
    const read = JSON.parse(text) as Partial<StreamEvent>;
    return { ...read, type: type === 'message' ? (read.type ?? type) : type, id: read.id ?? null, serial: serials };
  } catch {
    return { type, id: null, unreadable: text, serial: serials };
  }
}

export function eventFromHistory(read: Partial<StreamEvent>): StreamEvent {
  serials += 1;
  return { ...read, type: read.type ?? 'unknown', id: read.id ?? null, serial: serials };
}

const MOST_KEPT = 10_000;

type Listener = (event: StreamEvent) => void;
const listeners = new Set<Listener>();
let kept: StreamEvent[] = [];

/** Changes when events have come, at most ten times a second. */
export const eventsVersion = signal(0);

/** The latest events that this page has seen, oldest first. Not to be changed. */
export function latestEvents(): readonly StreamEvent[] {
  return kept;
}

/** Hears every event as it comes, in order. @returns ends it */
export function onEvent(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function keepEvent(event: StreamEvent): void {
  kept.push(event);
  // Trimmed in big steps: shifting an array at every event would cost more than it keeps.
  if (kept.length >= 2 * MOST_KEPT) kept = kept.slice(-MOST_KEPT);
  for (const listener of listeners) listener(event);
  paintSoon(eventsVersion);
}

export function forgetEvents(): void {
  kept = [];
  paintSoon(eventsVersion);
}
