// What a view reads from the API by itself, and reads again: what was read stays in sight until the next answer is there.

import { useEffect, useRef, useState } from 'preact/hooks';

import { serverNowMs } from '../api/clock';
import { Refusal } from '../api/client';

export interface Reading<T> {
  /** The last answer; undefined before the first. */
  value: T | undefined;
  /** When it came, on the server's clock. */
  asOfMs: number;
  /** Why the latest try failed; null: it did not. */
  fault: unknown;
  /** Reads again: soon, and however often it is called, no more often than `soonMs` apart. */
  again: () => void;
  /** Reads again at once: for what must not wait for the pace, and comes seldom. */
  now: () => void;
}

export interface Pace {
  /** Shortest time between two readings that `again` asked for. */
  soonMs: number;
  /** A reading without being asked, after that time. */
  everyMs: number;
}

/** What is asked for may change with each letter that is typed: it is read when it stays so for this long. */
const SETTLED_MS = 150;

const NOTHING = { value: undefined, asOfMs: 0, fault: null };

/**
 * Reads now, whenever one of `keys` is another one, and at the pace.
 *
 * @param keys what the reading is of: another one forgets the answer
 */
export function useReading<T>(read: (signal: AbortSignal) => Promise<T>, keys: readonly unknown[], pace: Pace): Reading<T> {
  const [state, setState] = useState<Omit<Reading<T>, 'again' | 'now'> & { of: string }>({ ...NOTHING, of: '' });
  const of = JSON.stringify(keys);
  const asked = useRef<(waitsForPace: boolean) => void>(() => {});
  const isFirst = useRef(true);
  const current = useRef(read);
  current.current = read;

  useEffect(() => {
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let dueAtMs = 0; // of the planned reading, on the page's own clock
    let isReading = false;
    let isWanted = false;
    let isUrgent = false;
    let notBeforeMs = 0;
    const plan = (waitMs: number): void => {
      clearTimeout(timer);
      dueAtMs = performance.now() + waitMs;
      timer = setTimeout(() => void run(), waitMs);
    };
    const run = async (): Promise<void> => {
      isReading = true;
      isWanted = isUrgent = false;
      let pauseMs = pace.everyMs;
      try {
        const value = await current.current(stop.signal);
        if (stop.signal.aborted) return;
        setState({ value, asOfMs: serverNowMs(), fault: null, of });
      } catch (fault) {
        if (stop.signal.aborted) return;
        isUrgent = false; // what just failed is not tried again at once
        if (fault instanceof Refusal && fault.retryAfterMs > 0) pauseMs = fault.retryAfterMs;
        setState((before) => ({ ...(before.of === of ? before : { ...NOTHING, of }), fault }));
      }
      isReading = false;
      notBeforeMs = performance.now() + pace.soonMs;
      plan(isUrgent ? 0 : isWanted ? Math.min(pace.soonMs, pauseMs) : pauseMs);
    };
    asked.current = (waitsForPace) => {
      isWanted = true;
      isUrgent ||= !waitsForPace;
      const waitMs = waitsForPace ? Math.max(0, notBeforeMs - performance.now()) : 0;
      if (!isReading && performance.now() + waitMs < dueAtMs) plan(waitMs);
    };
    plan(isFirst.current ? 0 : SETTLED_MS);
    isFirst.current = false;
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [of, pace.soonMs, pace.everyMs]);

  const ask = useRef({ again: () => asked.current(true), now: () => asked.current(false) }).current;
  return { ...(state.of === of ? state : NOTHING), ...ask };
}
