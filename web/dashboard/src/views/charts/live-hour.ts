// The last hour, kept: the history up to where the stream is, then every event as it comes.

import { effect, signal, useSignal, type ReadonlySignal, type Signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';

import { serverNowMs } from '../../api/clock';
import { inWords } from '../../api/errors';
import { latestEvents, onEvent, type StreamEvent } from '../../live/events';
import { streamPosition } from '../../live/probe';
import { Hour, MINUTE_MS, MINUTES } from './hour';
import { readHour } from './read-hour';

/** When this page was opened: refusals before that nobody can tell, since the service keeps none. */
export const openedAtMs = serverNowMs();

export interface LiveHour {
  hour: Hour;
  state: ReadonlySignal<'reading' | 'whole' | 'partial' | 'failed'>;
  /** Since when everything that happened is known. */
  fromMs: ReadonlySignal<number>;
  fault: ReadonlySignal<string | null>;
  /** Changes when it may be worth drawing again. */
  version: Signal<number>;
}

const DRAWN_EVERY_MS = 2_000;

export function useLiveHour(): LiveHour {
  const [hour, setHour] = useState(() => new Hour());
  const [attempt, setAttempt] = useState(0);
  const state = useSignal<'reading' | 'whole' | 'partial' | 'failed'>('reading');
  const fromMs = useSignal(Infinity);
  const fault = useSignal<string | null>(null);
  const [version] = useState(() => signal(0));
  useEffect(() => {
    const own = new Hour();
    const stop = new AbortController();
    setHour(own);
    state.value = 'reading';
    fromMs.value = Infinity;
    let upTo = Infinity; // the history up to there, the stream from there on
    for (const event of latestEvents()) if (event.id === null) own.add(event);
    const unlisten = onEvent((event: StreamEvent) => {
      if (event.type === 'RESET_CURSOR') setAttempt((n) => n + 1); // the stream has a hole: the history is whole
      else if (event.id === null || Number(event.id) > upTo) own.add(event);
    });
    const read = async (): Promise<void> => {
      try {
        const isWhole = await readHour(upTo, stop.signal, (events, knownFromMs) => {
          for (const event of events) own.add(event);
          fromMs.value = knownFromMs;
          version.value += 1;
        });
        state.value = isWhole ? 'whole' : 'partial';
      } catch (why) {
        if (stop.signal.aborted) return;
        state.value = 'failed';
        fault.value = inWords(why);
      }
    };
    // A page that was just opened does not know yet where its stream begins.
    const unwait = effect(() => {
      if (streamPosition.value === 0 || upTo !== Infinity) return;
      upTo = streamPosition.value;
      void read();
    });
    const timer = setInterval(() => { if (!document.hidden) version.value += 1; }, DRAWN_EVERY_MS);
    return () => {
      stop.abort();
      unlisten();
      unwait();
      clearInterval(timer);
    };
  }, [attempt]);
  return { hour, state, fromMs, fault, version };
}

/** The beginning of what the charts show. */
export function hourAgoMs(): number {
  return serverNowMs() - MINUTES * MINUTE_MS;
}
