// What happened to one resource: from the history, then from the events as they come.

import { useComputed, useSignal, useSignalEffect, type ReadonlySignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

import { serverNowMs } from '../api/clock';
import { isAbout, isToldAlready } from './describe';
import { eventsVersion, latestEvents, type StreamEvent } from './events';
import { readHistory } from './history';

const KEPT_MS = 3_600_000;
const MOST_PAGES = 20;
const MOST_SHOWN = 100;

export interface About {
  /** Newest first. */
  events: ReadonlySignal<readonly StreamEvent[]>;
  /** Refusals since this page was opened: they are not kept. Newest first. */
  refusals: ReadonlySignal<readonly StreamEvent[]>;
  state: ReadonlySignal<'reading' | 'read' | 'failed'>;
}

export function useAbout(resource: string, pool: string | null): About {
  const older = useSignal<readonly StreamEvent[]>([]);
  const state = useSignal<'reading' | 'read' | 'failed'>('reading');
  const fresh = useSignal<readonly StreamEvent[]>([]);
  useEffect(() => {
    const stop = new AbortController();
    older.value = [];
    state.value = 'reading';
    readHistory({ fromMs: serverNowMs() - KEPT_MS, resources: [resource], mostPages: MOST_PAGES, signal: stop.signal }).then(
      ({ events }) => {
        older.value = events.filter((event) => isAbout(event, resource)).slice(-MOST_SHOWN);
        state.value = 'read';
      },
      () => { if (!stop.signal.aborted) state.value = 'failed'; },
    );
    return () => stop.abort();
  }, [resource]);
  useSignalEffect(() => {
    eventsVersion.value;
    // Who wanted any slot was refused by the pool's name.
    fresh.value = latestEvents().filter((event) => isAbout(event, resource) || (pool !== null && event.id === null && event.resource === pool));
  });
  const events = useComputed(() => {
    const byId = new Map<string, StreamEvent>();
    for (const event of [...older.value, ...fresh.value]) if (event.id !== null && !isToldAlready(event)) byId.set(event.id, event);
    return [...byId.values()].sort((a, b) => Number(b.id) - Number(a.id)).slice(0, MOST_SHOWN);
  });
  const refusals = useComputed(() => fresh.value.filter((event) => event.id === null).slice(-MOST_SHOWN).reverse());
  return { events, refusals, state };
}
