// The last hour, kept: the history up to where the stream is, then every event as it comes.

import { effect, useSignal, type ReadonlySignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';

import { serverNowMs } from '../../api/clock';
import { inWords } from '../../api/errors';
import { latestEvents, onEvent, type StreamEvent } from '../../live/events';
import { streamPosition } from '../../live/probe';
import { board } from '../../live/store';
import { allTickets } from '../../live/tickets';
import { Hour, type Series } from './hour';
import { readHour } from './read-hour';

/** When this page was opened: refusals before that nobody can tell, since the service keeps none. */
export const openedAtMs = serverNowMs();

export interface LiveHour {
  /** As of a moment ago. */
  series: ReadonlySignal<Series>;
  state: ReadonlySignal<'reading' | 'whole' | 'partial' | 'failed'>;
  /** Since when everything that happened is known. */
  fromMs: ReadonlySignal<number>;
  fault: ReadonlySignal<string | null>;
}

const COUNTED_EVERY_MS = 2_000;
const PAUSE_PER_COUNTING = 20; // a very busy hour takes long to count: a twentieth of the time at most

export function useLiveHour(): LiveHour {
  const state = useSignal<'reading' | 'whole' | 'partial' | 'failed'>('reading');
  const fromMs = useSignal(Infinity);
  const fault = useSignal<string | null>(null);
  const series = useSignal<Series>(seriesOf(new Hour(), Infinity));
  const attempt = useSignal(0);
  useEffect(() => {
    const hour = new Hour();
    const stop = new AbortController();
    state.value = 'reading';
    fromMs.value = Infinity;
    let upTo = Infinity; // the history up to there, the stream from there on
    for (const event of latestEvents()) if (event.id === null) hour.add(event);
    const unlisten = onEvent((event: StreamEvent) => {
      if (event.type === 'RESET_CURSOR')
        attempt.value += 1; // the stream has a hole: the history is whole
      else if (event.id === null || Number(event.id) > upTo) hour.add(event);
    });
    const uncount = keepCounting(() => {
      series.value = seriesOf(hour, fromMs.peek());
    });
    const read = async (): Promise<void> => {
      try {
        const isWhole = await readHour(upTo, stop.signal, (events, knownFromMs) => {
          for (const event of events) hour.add(event);
          fromMs.value = knownFromMs;
        });
        series.value = seriesOf(hour, fromMs.peek());
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
    return () => {
      stop.abort();
      unlisten();
      unwait();
      uncount();
    };
  }, [attempt.value]);
  return { series, state, fromMs, fault };
}

function seriesOf(hour: Hour, fromMs: number): Series {
  return hour.series(serverNowMs(), fromMs, { held: board.rows(), waiting: allTickets().values() });
}

/** Counts every now and then while the page is seen. @returns ends it */
function keepCounting(run: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const turn = (): void => {
    const began = performance.now();
    if (!document.hidden) run();
    timer = setTimeout(turn, Math.max(COUNTED_EVERY_MS, (performance.now() - began) * PAUSE_PER_COUNTING));
  };
  timer = setTimeout(turn, 0);
  return () => clearTimeout(timer);
}
