// What the stream of one connection tells, between two readings of the lists.

import { signal, type Signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';

import { serverNowMs } from '../../api/clock';
import { inWords, Refusal } from '../../api/errors';
import type { JobState, Shape } from '../../api/types';
import { paintSoon } from '../../live/paint';
import type { Frame } from '../../live/sse';
import { keepStream } from '../../live/stream';

type WorkerState = Shape<'WorkerState'>;

interface Frames {
  'job:state_change': { id: string; name: string; state: JobState; previousState: JobState | null; timestamp: string };
  'worker:heartbeat': { id: string; hostname: string; state: WorkerState; activeJobs: number };
  'worker:state_change': {
    id: string;
    hostname: string;
    state: WorkerState;
    previousState: WorkerState | null;
    timestamp: string;
  };
  'queue:snapshot': { name: string; depth: number | null; consumers: number | null };
  gap: { from: string; to: string; reason: string };
}

export type LiveState = 'connecting' | 'open' | 'lost';

export const RATE_WINDOW_MS = 60_000;
const MOST_ENDS = 20_000; // of the last minute
const MOST_JOBS = 5_000; // whose latest state is kept: more than a page ever shows
const MOST_NAMES = 5_000; // of queues, and of workers: more than the lists show
const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled']);

/** With the time at which it was heard, on the server's clock: a list that was read later knows better. */
type Heard<Data> = Data & { heardMs: number };

export class LiveConnection {
  /** Changes when something below has, at most ten times a second. */
  readonly version = signal(0);
  /** Changes when the lists are worth reading again. */
  readonly changes = signal(0);
  readonly state: Signal<LiveState> = signal<LiveState>('connecting');
  /** Why the stream was lost, for people. */
  readonly why = signal<string | null>(null);
  readonly gap = signal<Frames['gap'] | null>(null);
  readonly queues = new Map<string, Heard<Frames['queue:snapshot']>>();
  readonly workers = new Map<string, Heard<Frames['worker:heartbeat']>>();
  /** The latest change of each job by its id. */
  readonly jobs = new Map<string, Frames['job:state_change']>();
  /** Since when nothing was missed; null while nothing is heard. */
  #heardSinceMs: number | null = null;
  #ends: { atMs: number; isFailed: boolean }[] = [];

  /** Jobs that ended within the last minute, or since the stream was opened, which is a shorter time; null before. */
  ended(): { all: number; failed: number; withinMs: number } | null {
    if (this.#heardSinceMs === null) return null;
    const nowMs = performance.now();
    const fromMs = Math.max(this.#heardSinceMs, nowMs - RATE_WINDOW_MS);
    const recent = this.#ends.filter((end) => end.atMs >= fromMs);
    return { all: recent.length, failed: recent.filter((end) => end.isFailed).length, withinMs: nowMs - fromMs };
  }

  opened(): void {
    this.#heardSinceMs = performance.now();
    this.state.value = 'open';
    this.why.value = null;
    paintSoon(this.changes); // nothing is replayed: what happened meanwhile stands in the lists
  }

  lost(why: string | null): void {
    this.#heardSinceMs = null;
    this.state.value = 'lost';
    this.why.value = why;
  }

  hear(frame: Frame): void {
    const read = frameOf(frame);
    if (read === null) return;
    switch (read.type) {
      case 'job:state_change':
        this.#job(read.data);
        break;
      case 'worker:heartbeat':
        put(this.workers, read.data.id, read.data);
        break;
      case 'worker:state_change':
        this.#worker(read.data);
        break;
      case 'queue:snapshot':
        if (!this.queues.has(read.data.name)) paintSoon(this.changes);
        put(this.queues, read.data.name, read.data);
        break;
      case 'gap':
        this.gap.value = read.data;
        paintSoon(this.changes);
        break;
    }
    paintSoon(this.version);
  }

  #job(change: Frames['job:state_change']): void {
    this.jobs.delete(change.id); // the latest stand last
    this.jobs.set(change.id, change);
    if (this.jobs.size > MOST_JOBS) this.jobs.delete(this.jobs.keys().next().value ?? '');
    if (ENDED.has(change.state)) {
      this.#ends.push({ atMs: performance.now(), isFailed: change.state === 'failed' });
      if (this.#ends.length > MOST_ENDS) this.#ends = this.#ends.slice(MOST_ENDS / 2);
    }
    paintSoon(this.changes);
  }

  #worker(change: Frames['worker:state_change']): void {
    const known = this.workers.get(change.id);
    const activeJobs = change.state === 'offline' ? 0 : (known?.activeJobs ?? 0);
    put(this.workers, change.id, { id: change.id, hostname: change.hostname, state: change.state, activeJobs });
    paintSoon(this.changes);
  }
}

function put<Data>(map: Map<string, Heard<Data>>, key: string, data: Data): void {
  if (map.has(key) || map.size < MOST_NAMES) map.set(key, { ...data, heardMs: serverNowMs() });
}

type Read = { [Type in keyof Frames]: { type: Type; data: Frames[Type] } }[keyof Frames];
const KNOWN: ReadonlySet<string> = new Set([
  'job:state_change',
  'worker:heartbeat',
  'worker:state_change',
  'queue:snapshot',
  'gap',
]);

/** A type of a later version is passed over, and so is what cannot be read. */
function frameOf({ type, text }: Frame): Read | null {
  if (!KNOWN.has(type)) return null;
  try {
    return { type, data: JSON.parse(text) } as Read;
  } catch {
    return null;
  }
}

/** Follows a connection for as long as it is shown. */
export function useLive(connectionId: string): LiveConnection {
  const [live, setLive] = useState(() => new LiveConnection());
  useEffect(() => {
    const own = new LiveConnection();
    const stop = new AbortController();
    setLive(own);
    void keepStream(listenerOf(own, connectionId), stop.signal).catch((fault: unknown) => {
      own.lost(fault instanceof Refusal && fault.status === 404 ? 'This connection was deleted.' : inWords(fault));
    });
    return () => stop.abort();
  }, [connectionId]);
  return live;
}

function listenerOf(live: LiveConnection, connectionId: string): Parameters<typeof keepStream>[0] {
  let resumeFrom: string | null = null;
  return {
    begin: () => Promise.resolve({ path: `/api/events/stream?connectionId=${encodeURIComponent(connectionId)}`, resumeFrom }),
    opened: () => live.opened(),
    heard(frames, lastEventId) {
      resumeFrom = lastEventId ?? resumeFrom;
      for (const frame of frames) live.hear(frame);
    },
    lost: (why) => live.lost(why === null ? null : inWords(why)),
  };
}
