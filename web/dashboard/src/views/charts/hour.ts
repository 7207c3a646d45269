// What happened within the last hour, counted: from events in any order, each given once.
//
// No drawing here, no network and no clock. The end of a reservation says when it began: its fence is the position of its grant,
// and positions are microseconds. So a hold is known whole, even where its grant is older than the history.

import type { EventChange } from '../../api/types';
import type { StreamEvent } from '../../live/events';

export const MINUTE_MS = 60_000;
export const MINUTES = 60;
const MOST_SPANS = 400_000; // of holds and waits that ended; the oldest go first
const MOST_TIMES = 20_000; // of one minute: percentiles of so many are good enough

/** A time in which something was held, or waited for. */
interface Span {
  name: string;
  fromMs: number;
  toMs: number;
}

class Counts {
  grants = 0;
  refusals = 0;
  expiries = 0;
  holdsMs: number[] = [];
  waitsMs: number[] = [];
}

/** What is so now: the rest follows from what ended. */
export interface Present {
  held: Iterable<{ resource: string; reservedAt: string }>;
  waiting: Iterable<{ ticket: string; since: string }>;
}

/** A line has a value for each minute; null: nothing to tell. */
export type Line = (number | null)[];

export interface Series {
  /** Beginnings of the minutes, in seconds since the Unix epoch. */
  minutes: number[];
  held: Line;
  waiting: Line;
  grants: Line;
  refusals: Line;
  expiries: Line;
  holdP50: Line;
  holdP99: Line;
  waitP50: Line;
  waitP99: Line;
  /** Over all of it. */
  whole: { grants: number; refusals: number; expiries: number; hold: Percentiles | null; wait: Percentiles | null };
}

export interface Percentiles {
  p50: number;
  p99: number;
  count: number;
}

export class Hour {
  #minutes = new Map<number, Counts>();
  #holds: Span[] = [];
  #waits: Span[] = [];
  /** Times of the latest grants by name, for a reset, whose event names nothing. */
  #granted = new Map<string, number>();
  #resets: number[] = [];

  add(event: StreamEvent): void {
    const atMs = event.id !== null ? Number(event.id) / 1000 : Date.parse(event.timestamp ?? '');
    if (!Number.isFinite(atMs)) return;
    switch (event.type) {
      case 'RESERVED':
        this.#grant(event, atMs);
        this.#served(event, atMs);
        break;
      case 'TRANSACTION_APPLIED':
        for (const change of event.changes ?? []) {
          if (change.requestType === 'RESERVE' && change.explanation === 'ACQUIRED') this.#grant(change, atMs);
          if (change.requestType === 'UNRESERVE' && change.explanation === 'RELINQUISHED') this.#end(change, atMs);
        }
        this.#served(event, atMs);
        break;
      case 'RESERVATION_EXPIRED':
        this.#at(atMs).expiries += 1;
        this.#end(event, atMs);
        break;
      case 'UNRESERVED':
        if (event.explanation !== 'EXPIRED') this.#end(event, atMs); // an expiry was told already
        break;
      case 'RESET':
        this.#resets.push(atMs);
        break;
      case 'WAIT_ENDED':
        if (event.ticket && event.waitedMs != null)
          this.#waits.push({ name: event.ticket, fromMs: atMs - event.waitedMs, toMs: atMs });
        break;
      case 'RESERVE_FAILED':
      case 'TRANSACTION_ROLLED_BACK':
      case 'TIER_LIMIT_REACHED':
        this.#at(atMs).refusals += 1;
        break;
      default:
        break;
    }
  }

  /** @param nowMs on the server's clock @param fromMs what is older is not known whole, and left out */
  series(nowMs: number, fromMs: number, present: Present): Series {
    this.#forget(nowMs - MINUTES * MINUTE_MS);
    const last = Math.floor(nowMs / MINUTE_MS);
    const minutes = Array.from({ length: MINUTES }, (_, at) => last - MINUTES + 1 + at);
    const isKnown = (minute: number): boolean => (minute + 1) * MINUTE_MS > fromMs;
    const per = (read: (counts: Counts) => number): Line =>
      minutes.map((minute) => (isKnown(minute) ? read(this.#minutes.get(minute) ?? NONE) : null));
    const held = this.#levels(minutes, nowMs, this.#heldSpans(present, nowMs));
    const waiting = this.#levels(minutes, nowMs, this.#waitSpans(present, nowMs));
    const known = minutes.filter(isKnown).map((minute) => this.#minutes.get(minute) ?? NONE);
    const sum = (read: (counts: Counts) => number): number => known.reduce((total, counts) => total + read(counts), 0);
    const [hold, wait] = [
      this.#percentiles(minutes, (counts) => counts.holdsMs),
      this.#percentiles(minutes, (counts) => counts.waitsMs),
    ];
    return {
      minutes: minutes.map((minute) => (minute * MINUTE_MS) / 1000),
      held: held.map((level, at) => (isKnown(minutes[at] ?? 0) ? level : null)),
      waiting: waiting.map((level, at) => (isKnown(minutes[at] ?? 0) ? level : null)),
      grants: per((counts) => counts.grants),
      refusals: per((counts) => counts.refusals),
      expiries: per((counts) => counts.expiries),
      holdP50: hold.map((some) => some?.p50 ?? null),
      holdP99: hold.map((some) => some?.p99 ?? null),
      waitP50: wait.map((some) => some?.p50 ?? null),
      waitP99: wait.map((some) => some?.p99 ?? null),
      whole: {
        grants: sum((counts) => counts.grants),
        refusals: sum((counts) => counts.refusals),
        expiries: sum((counts) => counts.expiries),
        hold: percentilesOf(known.flatMap((counts) => counts.holdsMs)),
        wait: percentilesOf(known.flatMap((counts) => counts.waitsMs)),
      },
    };
  }

  #at(atMs: number): Counts {
    const minute = Math.floor(atMs / MINUTE_MS);
    let counts = this.#minutes.get(minute);
    if (counts === undefined) this.#minutes.set(minute, (counts = new Counts()));
    return counts;
  }

  #grant(granted: StreamEvent | EventChange, atMs: number): void {
    this.#at(atMs).grants += 1;
    for (const name of namesOf(granted)) this.#granted.set(name, Math.max(atMs, this.#granted.get(name) ?? 0));
  }

  /** Somebody who waited has it now. */
  #served(event: StreamEvent, atMs: number): void {
    if (!event.ticket || event.waitedMs == null) return;
    keep(this.#at(atMs).waitsMs, event.waitedMs);
    this.#waits.push({ name: event.ticket, fromMs: atMs - event.waitedMs, toMs: atMs });
  }

  #end(ended: StreamEvent | EventChange, atMs: number): void {
    if (!ended.fencingToken) return;
    const fromMs = ended.fencingToken / 1000;
    keep(this.#at(atMs).holdsMs, Math.max(0, atMs - fromMs));
    for (const name of namesOf(ended)) this.#holds.push({ name, fromMs, toMs: atMs });
  }

  #forget(beforeMs: number): void {
    for (const minute of this.#minutes.keys()) if ((minute + 1) * MINUTE_MS < beforeMs) this.#minutes.delete(minute);
    const recent = (spans: Span[]): Span[] => spans.filter((span) => span.toMs >= beforeMs).slice(-MOST_SPANS);
    this.#holds = recent(this.#holds);
    this.#waits = recent(this.#waits);
    this.#resets = this.#resets.filter((atMs) => atMs >= beforeMs);
    for (const [name, atMs] of this.#granted) if (atMs < beforeMs) this.#granted.delete(name);
  }

  #heldSpans({ held }: Present, nowMs: number): Span[] {
    const spans = [...this.#holds];
    const isHeld = new Set<string>();
    for (const row of held) {
      isHeld.add(row.resource);
      spans.push({ name: row.resource, fromMs: Date.parse(row.reservedAt), toMs: nowMs + MINUTE_MS });
    }
    if (this.#resets.length > 0) spans.push(...this.#endedByResets(isHeld));
    return spans;
  }

  /** What was granted, is not held, and has no end of its own. */
  #endedByResets(isHeld: ReadonlySet<string>): Span[] {
    const endsOf = (name: string, fromMs: number): string => `${fromMs} ${name}`;
    const ended = new Set(this.#holds.map((span) => endsOf(span.name, span.fromMs)));
    return [...this.#granted].flatMap(([name, fromMs]) => {
      const resetMs = this.#resets.filter((atMs) => atMs >= fromMs).sort((a, b) => a - b)[0];
      return resetMs === undefined || isHeld.has(name) || ended.has(endsOf(name, fromMs))
        ? []
        : [{ name, fromMs, toMs: resetMs }];
    });
  }

  #waitSpans({ waiting }: Present, nowMs: number): Span[] {
    const spans = [...this.#waits];
    for (const ticket of waiting) spans.push({ name: ticket.ticket, fromMs: Date.parse(ticket.since), toMs: nowMs + MINUTE_MS });
    return spans;
  }

  /** How many different names a span covers at the end of each minute; of the last one, now. */
  #levels(minutes: number[], nowMs: number, spans: Span[]): number[] {
    const momentsMs = minutes.map((minute) => Math.min(nowMs, (minute + 1) * MINUTE_MS - 1));
    const changes = new Array<number>(minutes.length + 1).fill(0);
    const byName = new Map<string, { from: number; to: number }[]>();
    for (const span of spans) {
      const [from, to] = [firstAtOrAfter(momentsMs, span.fromMs), firstAtOrAfter(momentsMs, span.toMs)];
      if (from >= to) continue; // it was over before the next moment
      const known = byName.get(span.name);
      if (known === undefined) byName.set(span.name, [{ from, to }]);
      else known.push({ from, to });
    }
    for (const ranges of byName.values()) {
      if (ranges.length > 1) ranges.sort((a, b) => a.from - b.from);
      let end = -1;
      for (const { from, to } of ranges) {
        const start = Math.max(from, end);
        if (to <= start) continue;
        changes[start] = (changes[start] ?? 0) + 1;
        changes[to] = (changes[to] ?? 0) - 1;
        end = to;
      }
    }
    let level = 0;
    return momentsMs.map((_, at) => (level += changes[at] ?? 0));
  }

  /** Over five minutes, each time at the last of them: one minute of a quiet tenant has nothing to tell. */
  #percentiles(minutes: number[], read: (counts: Counts) => number[]): (Percentiles | null)[] {
    return minutes.map((minute, at) => {
      if ((minutes.length - 1 - at) % GROUP !== 0) return null;
      const group = Array.from({ length: GROUP }, (_, back) => this.#minutes.get(minute - back));
      return percentilesOf(group.flatMap((counts) => (counts === undefined ? [] : read(counts))));
    });
  }
}

export const GROUP = 5; // minutes
const NONE = new Counts();

function namesOf(of: StreamEvent | EventChange): string[] {
  if (!('slots' in of)) return of.resource ? [of.resource] : []; // of a transaction: each slot is an item of its own
  const slots = of.slots && of.slots.length > 1 ? of.slots : of.resource ? [of.resource] : [];
  return [...slots, ...(of.blockers ?? [])];
}

function keep(times: number[], ms: number): void {
  if (times.length < MOST_TIMES) times.push(ms);
}

function firstAtOrAfter(momentsMs: number[], ms: number): number {
  let [low, high] = [0, momentsMs.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((momentsMs[middle] ?? 0) < ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

function percentilesOf(values: number[]): Percentiles | null {
  if (values.length === 0) return null;
  const inOrder = Float64Array.from(values).sort();
  const at = (part: number): number => inOrder[Math.min(inOrder.length - 1, Math.ceil(part * inOrder.length) - 1)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), count: values.length };
}
