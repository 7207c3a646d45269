// An event as a line that a person reads: what happened, to what, for whom, and why.

import type { Tone } from '../ui/parts';
import { duration } from '../ui/format';
import type { StreamEvent } from './events';

export interface Description {
  title: string;
  tone: Tone;
  /** Other people's text, as are the next two. */
  subject: string;
  requester: string;
  detail: string;
}

/** Kinds of events that a person filters by, with the types of each. */
export const KINDS: Record<string, { title: string; types: readonly string[] }> = {
  grants: { title: 'Grants', types: ['RESERVED', 'RENEWED', 'TRANSACTION_APPLIED'] },
  ends: { title: 'Releases and expiries', types: ['UNRESERVED', 'RESERVATION_EXPIRED', 'RESET'] },
  waits: { title: 'Waits', types: ['WAITING', 'WAIT_ENDED'] },
  refusals: { title: 'Refusals', types: ['RESERVE_FAILED', 'UNRESERVE_FAILED', 'TRANSACTION_ROLLED_BACK', 'TIER_LIMIT_REACHED'] },
};
const BUILT_IN = new Set([...Object.values(KINDS).flatMap((kind) => kind.types), 'RESET_CURSOR']);

/** An expiry is two events, the end and its cause: it is told once. */
export function isToldAlready(event: StreamEvent): boolean {
  return event.type === 'UNRESERVED' && event.explanation === 'EXPIRED';
}

export function isOfKind(event: StreamEvent, kind: string): boolean {
  if (kind === 'own') return !BUILT_IN.has(event.type);
  return KINDS[kind]?.types.includes(event.type) ?? true;
}

export function describe(event: StreamEvent): Description {
  const what = whatHappened(event);
  if (what === null) return platformEvent(event);
  return {
    ...what,
    subject: event.changes ? namesOf(event) : (event.resource ?? (event.ticket ? 'a group' : '')),
    requester: event.requester ?? '',
    detail: detailOf(event),
  };
}

function whatHappened(event: StreamEvent): { title: string; tone: Tone } | null {
  switch (event.type) {
    case 'RESERVED': return { title: event.ticket ? 'reserved after waiting' : 'reserved', tone: 'good' };
    case 'RENEWED': return { title: 'renewed', tone: 'calm' };
    case 'RESERVATION_EXPIRED': return { title: 'expired', tone: 'warn' };
    case 'UNRESERVED':
      if (event.explanation === 'FORCE_RELEASED') return { title: 'released by force', tone: 'bad' };
      if (event.explanation === 'UNCLAIMED') return { title: 'given back unclaimed', tone: 'warn' };
      if (event.explanation === 'EXPIRED') return { title: 'expired', tone: 'warn' };
      return { title: 'released', tone: 'calm' };
    case 'RESERVE_FAILED': return { title: 'refused', tone: 'bad' };
    case 'UNRESERVE_FAILED': return { title: 'release refused', tone: 'bad' };
    case 'TRANSACTION_APPLIED':
      return { title: event.requestType === 'UNRESERVE' ? 'group released' : 'group reserved', tone: 'good' };
    case 'TRANSACTION_ROLLED_BACK': return { title: 'group refused', tone: 'bad' };
    case 'RESET': return { title: 'everything released', tone: 'bad' };
    case 'RESET_CURSOR': return { title: 'read again', tone: 'warn' };
    case 'TIER_LIMIT_REACHED': return { title: 'limit reached', tone: 'bad' };
    case 'WAITING': return { title: 'waiting', tone: 'calm' };
    case 'WAIT_ENDED': return { title: WAIT_ENDS[event.explanation ?? ''] ?? 'wait ended', tone: 'warn' };
    default: return null;
  }
}

const WAIT_ENDS: Record<string, string> = {
  TIMED_OUT: 'waited in vain', CANCELLED: 'wait cancelled', LAPSED: 'gave up waiting',
};

function detailOf(event: StreamEvent): string {
  const by = event.apiKeyLabel ? `by ${event.apiKeyLabel}` : '';
  switch (event.type) {
    case 'RESERVED':
      return joined(event.waitedMs == null ? '' : `waited ${duration(event.waitedMs)}`, event.note ?? '', slotsOf(event));
    case 'UNRESERVED':
      return event.explanation === 'FORCE_RELEASED' ? joined(event.reason ?? '', by) : (event.reason ?? '');
    case 'WAITING':
      return joined(event.place == null ? '' : `place ${event.place}`, event.note ?? '');
    case 'WAIT_ENDED':
      return event.waitedMs == null ? '' : `after ${duration(event.waitedMs)}`;
    case 'TRANSACTION_APPLIED':
    case 'TRANSACTION_ROLLED_BACK':
      return joined(METHODS[event.method ?? ''] ?? '', event.waitedMs == null ? '' : `waited ${duration(event.waitedMs)}`, event.reason ?? '');
    case 'TIER_LIMIT_REACHED':
      return event.reason ?? `${event.limitType ?? ''}: ${event.limit ?? ''}`;
    case 'RESET':
      return joined(event.reason ?? '', by);
    case 'RESET_CURSOR':
      return 'The server could not tell everything that happened meanwhile, so the list was read again.';
    default:
      return event.reason ?? '';
  }
}

const METHODS: Record<string, string> = { ALL_OR_NONE: 'all or none', AS_MANY_AS_POSSIBLE: 'as many as possible', FIRST: 'the first' };

function joined(...parts: string[]): string {
  return parts.filter((part) => part !== '').join(' · ');
}

function slotsOf(event: StreamEvent): string {
  return event.slots && event.slots.length > 1 ? `${event.slots.length} slots` : '';
}

const MOST_NAMES = 3; // the rest stands in the details

function namesOf(event: StreamEvent): string {
  const all = [...new Set((event.changes ?? []).map((change) => change.resource))];
  const more = all.length - MOST_NAMES;
  return all.slice(0, MOST_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

const LONGEST_PAYLOAD = 160; // characters

/** A type of the tenant's own, such as `trade`: its payload, shortened. */
function platformEvent(event: StreamEvent): Description {
  const payload = event.unreadable ?? JSON.stringify(event.data ?? null);
  const detail = payload.length > LONGEST_PAYLOAD ? `${payload.slice(0, LONGEST_PAYLOAD)}…` : payload;
  return { title: event.type, tone: 'plain', subject: event.companyId ?? '', requester: '', detail };
}

/** Whether a text, in small letters, occurs in what the event is about. */
export function mentions(event: StreamEvent, needle: string): boolean {
  const has = (text: string | null | undefined): boolean => text != null && text.toLowerCase().includes(needle);
  return has(event.resource) || has(event.requester) || has(event.pool) || has(event.note) || has(event.reason) || has(event.type)
    || has(event.apiKeyLabel) || has(event.companyId) || (event.changes ?? []).some((change) => has(change.resource) || has(change.requester));
}

/** Whether the event is about a resource, by its own name or its pool's. */
export function isAbout(event: StreamEvent, resource: string): boolean {
  return event.resource === resource || event.pool === resource || (event.slots?.includes(resource) ?? false)
    || (event.changes ?? []).some((change) => change.resource === resource || change.pool === resource);
}
