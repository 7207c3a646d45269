// Who waits, kept true by events between readings.
//
// An event says that somebody came or went; what that does to the places and times of the others only the server knows, so
// the list is read again soon after.

import { signal } from '@preact/signals';

import { call, Unreachable, Refusal } from '../api/client';
import type { Shape, Ticket } from '../api/types';
import type { StreamEvent } from './events';
import { paintSoon } from './paint';

const PAGE = 1_000;
const MOST = 10_000; // tickets that are shown; a tenant of the largest tier may have more
const SHORTEST_PAUSE_MS = 1_000;
const PAUSE_PER_READING = 10; // a long list is read seldom: a tenth of the time at most
const EXPECTATIONS_AGE_MS = 15_000; // places and expected times change without an event, too

/** Changes when the tickets have, at most ten times a second. */
export const ticketsVersion = signal(0);
/** Whether there are more tickets than are read. */
export const hasMoreTickets = signal(false);
/** Why they could not be read; null: they were. */
export const ticketsFault = signal<Error | null>(null);

let tickets = new Map<string, Ticket>();
/** Grows when all is forgotten: what was being read then is of somebody else. */
let era = 0;
let isReading = false;
/** Whether something happened that the reading under way may not know. */
let isStale = true;
let planned: ReturnType<typeof setTimeout> | undefined;
let notBefore = 0;

/** In no order; not to be changed. */
export function allTickets(): ReadonlyMap<string, Ticket> {
  return tickets;
}

export function forgetTickets(): void {
  clearTimeout(planned);
  planned = undefined;
  era += 1;
  isReading = false;
  tickets = new Map();
  paintSoon(ticketsVersion);
}

/** Applies an event of the stream. */
export function applyToTickets(event: StreamEvent): void {
  if (event.type === 'RESET') tickets.clear();
  else if (event.type === 'WAITING' && event.ticket) tickets.set(event.ticket, ticketOf(event, event.ticket));
  else if (event.ticket && event.type !== 'RENEWED') tickets.delete(event.ticket);
  // A grant or an end moves those who wait for the same, and their expected times.
  else if (tickets.size === 0 || !CHANGES_EXPECTATIONS.has(event.type)) return;
  paintSoon(ticketsVersion);
  readTicketsSoon();
}

const CHANGES_EXPECTATIONS = new Set(['RESERVED', 'UNRESERVED', 'RENEWED', 'TRANSACTION_APPLIED']);

function ticketOf(event: StreamEvent, ticket: string): Ticket {
  return {
    ticket,
    requester: event.requester ?? null,
    resources: event.resource ? [event.resource] : (event.changes ?? []).map((change) => change.resource),
    method: event.method ?? null,
    priority: tickets.get(ticket)?.priority ?? 0,
    place: event.place ?? null,
    since: tickets.get(ticket)?.since ?? event.timestamp ?? '',
    waitExpiresAt: event.waitExpiresAt ?? '',
    expectedBy: tickets.get(ticket)?.expectedBy ?? null,
    note: event.note ?? null,
    apiKeyLabel: event.apiKeyLabel ?? null,
  };
}

/** Reads them again, when it is due. */
export function readTicketsSoon(): void {
  if (isStale && planned !== undefined) return; // it is planned already
  isStale = true;
  if (!isReading) plan(notBefore - performance.now());
}

function plan(delayMs: number): void {
  clearTimeout(planned);
  planned = setTimeout(() => void read(), Math.max(0, delayMs));
}

async function read(): Promise<void> {
  const [began, begunIn] = [performance.now(), era];
  isReading = true;
  isStale = false;
  try {
    const found = new Map<string, Ticket>();
    let cursor: string | null = null;
    do {
      const page: Shape<'WaitingList'> = await call('GET', '/api/v1/Reservation/waiting', { query: { limit: PAGE, cursor } });
      for (const ticket of page.waiting) found.set(ticket.ticket, ticket);
      cursor = page.nextCursor ?? null;
    } while (cursor !== null && found.size < MOST);
    if (era !== begunIn) return;
    hasMoreTickets.value = cursor !== null;
    tickets = found;
    ticketsFault.value = null;
    paintSoon(ticketsVersion);
  } catch (fault) {
    if (!(fault instanceof Unreachable || fault instanceof Refusal)) throw fault;
    if (era === begunIn) ticketsFault.value = fault;
  } finally {
    if (era === begunIn) planNext(performance.now() - began);
  }
}

function planNext(tookMs: number): void {
  isReading = false;
  const pauseMs = Math.max(SHORTEST_PAUSE_MS, tookMs * PAUSE_PER_READING);
  notBefore = performance.now() + pauseMs;
  if (isStale) plan(pauseMs);
  else if (tickets.size > 0) plan(Math.max(EXPECTATIONS_AGE_MS, pauseMs));
}
