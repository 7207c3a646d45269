// The events that the view lists: those that came while the page was open, and earlier ones on demand.

import { computed, effect, signal } from '@preact/signals';

import { parameter } from '../../app/router';
import { inWords } from '../../api/errors';
import { tenantId } from '../../api/session';
import { isOfKind, isToldAlready, mentions } from '../../live/describe';
import { eventsVersion, latestEvents, type StreamEvent } from '../../live/events';
import { readBefore } from '../../live/history';
import { streamPosition } from '../../live/probe';

const SHOWN_AT_FIRST = 200;
const MORE_AT_ONCE = 1_000;

export const search = parameter('q');
export const kind = parameter('kind');

/** Earlier ones, oldest first. */
const older = signal<readonly StreamEvent[]>([]);
export const isStart = signal(false);
export const isReading = signal(false);
export const readFault = signal<string | null>(null);
/** What was there when the person paused; null: live. */
const frozen = signal<readonly StreamEvent[] | null>(null);
export const isPaused = computed(() => frozen.value !== null);

const all = computed<readonly StreamEvent[]>(() => {
  eventsVersion.value;
  return [...older.value, ...latestEvents()];
});

export const missedWhilePaused = computed(() => (frozen.value === null ? 0 : all.value.length - frozen.value.length));

/** Newest first, through the filter. */
export const shown = computed<readonly StreamEvent[]>(() => {
  const needle = search.value.trim().toLowerCase();
  const chosen = kind.value;
  const from = frozen.value ?? all.value;
  const found: StreamEvent[] = [];
  for (let at = from.length - 1; at >= 0; at--) {
    const event = from[at] as StreamEvent;
    if (isToldAlready(event) || (chosen !== '' && !isOfKind(event, chosen))) continue;
    if (needle === '' || mentions(event, needle) || event.ticket === needle) found.push(event);
  }
  return found;
});

export function togglePause(): void {
  frozen.value = frozen.value === null ? all.value : null;
}

/** Earlier events than those that are listed. */
export async function readMore(wanted = MORE_AT_ONCE): Promise<void> {
  if (isReading.value || isStart.value) return;
  isReading.value = true;
  readFault.value = null;
  try {
    const known = all.value.find((event) => event.id !== null);
    const before = known ? Number(known.id) : streamPosition.value + 1;
    const found = await readBefore(before, wanted, new AbortController().signal);
    const kept = found.events.slice(-Math.max(wanted, MORE_AT_ONCE));
    older.value = [...kept, ...older.value];
    if (frozen.value !== null) frozen.value = [...kept, ...frozen.value];
    isStart.value = found.isStart && kept.length === found.events.length;
  } catch (fault) {
    readFault.value = inWords(fault);
  } finally {
    isReading.value = false;
  }
}

/** So that the list does not begin empty. */
export function readFirst(): void {
  if (older.value.length === 0 && !isStart.value && streamPosition.value > 0) void readMore(SHOWN_AT_FIRST);
}

// Another tenant's events are other events.
effect(() => {
  tenantId.value;
  older.value = [];
  isStart.value = false;
  frozen.value = null;
});
