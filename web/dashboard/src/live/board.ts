// What is held, by resource: a list, kept true by the events after it.
//
// No drawing here, no network and no clock. Rows are never changed in place: a row that is a new object is a row to draw again.

import type { EventChange, Reservation } from '../api/types';
import type { StreamEvent } from './events';

export interface Row extends Reservation {
  /** False: it is held only as the blocker of something else. */
  isTakenByName?: boolean;
}

export interface BoardListener {
  /** A row came, went, or was replaced; one of the two may be null. */
  changed(before: Row | null, after: Row | null): void;
  /** Many rows came at once, none of which was there. */
  filled(rows: readonly Row[]): void;
  /** All is new. */
  replaced(): void;
}

export class Board {
  #rows = new Map<string, Row>();
  #asOf = 0;
  #listeners = new Set<BoardListener>();

  get size(): number {
    return this.#rows.size;
  }

  rows(): IterableIterator<Row> {
    return this.#rows.values();
  }

  row(resource: string): Row | undefined {
    return this.#rows.get(resource);
  }

  /** @returns ends it */
  listen(listener: BoardListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Starts over from a list as of a position; its rows follow with `fill`. */
  start(asOf: number): void {
    this.#asOf = asOf;
    this.#rows = new Map();
    for (const listener of this.#listeners) listener.replaced();
  }

  /** Rows of the list that was begun. A name may recur among its pages: the greater fence wins. */
  fill(reservations: Reservation[]): void {
    const fresh: Row[] = [];
    for (const row of reservations) {
      const known = this.#rows.get(row.resource);
      if (!known) {
        this.#rows.set(row.resource, row);
        fresh.push(row);
      } else if (row.fencingToken >= known.fencingToken) {
        this.#tellFilled(fresh.splice(0)); // it may be among them
        this.#put(row);
      }
    }
    this.#tellFilled(fresh);
  }

  #tellFilled(rows: readonly Row[]): void {
    if (rows.length === 0) return;
    for (const listener of this.#listeners) listener.filled(rows);
  }

  /**
   * Applies one event of the stream. Refusals, platform events and what the list already holds change nothing.
   *
   * @returns whether the board changed
   */
  apply(event: StreamEvent): boolean {
    const position = Number(event.id ?? 0);
    if (position <= this.#asOf) return false;
    switch (event.type) {
      case 'RESERVED':
        return this.#grant(event as GrantLike, event);
      case 'RENEWED':
        return this.#renew(event);
      case 'UNRESERVED':
      case 'RESERVATION_EXPIRED':
        return this.#end(event, position);
      case 'TRANSACTION_APPLIED':
        return this.#applyChanges(event, position);
      case 'RESET':
        return this.#reset(position);
      default:
        return false;
    }
  }

  #put(row: Row): void {
    const before = this.#rows.get(row.resource) ?? null;
    this.#rows.set(row.resource, row);
    for (const listener of this.#listeners) listener.changed(before, row);
  }

  #drop(resource: string): void {
    const before = this.#rows.get(resource);
    if (!before) return;
    this.#rows.delete(resource);
    for (const listener of this.#listeners) listener.changed(before, null);
  }

  #applyChanges(event: StreamEvent, position: number): boolean {
    let changed = false;
    for (const change of event.changes ?? []) {
      if (change.requestType === 'RESERVE' && change.explanation === 'ACQUIRED') {
        changed = this.#grant(change as GrantLike, event) || changed;
      }
      if (change.requestType === 'UNRESERVE' && change.explanation === 'RELINQUISHED') {
        changed = this.#end(change, position) || changed;
      }
    }
    return changed;
  }

  #grant(change: GrantLike, event: StreamEvent): boolean {
    const known = this.#rows.get(change.resource);
    const fencingToken = change.fencingToken ?? 0;
    if (known && known.fencingToken > fencingToken) return false;
    // A reservation of several slots is one grant: each slot is a row.
    const names = change.slots && change.slots.length > 1 ? change.slots : [change.resource];
    for (const resource of names) {
      this.#put({
        resource,
        requester: change.requester ?? event.requester ?? '',
        reservedAt: event.timestamp ?? '',
        expiresAt: change.expiresAt ?? null,
        resourceType: change.resourceType ?? event.resourceType ?? 'UserDefined',
        apiKeyLabel: event.apiKeyLabel ?? null,
        note: change.note ?? null,
        pool: change.pool ?? null,
        reservedAtPath: change.reservedAtPath ?? null,
        blockers: change.blockers ?? null,
        blockerOf: this.#rows.get(resource)?.blockerOf ?? null,
        fencingToken,
        isTakenByName: true,
      });
    }
    const row = this.#rows.get(change.resource);
    if (row) for (const blocker of change.blockers ?? []) this.#block(blocker, row);
    return true;
  }

  /** A blocker is taken with its user. It has no event of its own and, unless taken by name too, no deadline of its own. */
  #block(resource: string, user: Row): void {
    const known = this.#rows.get(resource);
    const users = known?.blockerOf ?? [];
    const row: Row = known ?? {
      ...user, resource, note: null, pool: null, reservedAtPath: null, blockers: null, isTakenByName: false,
    };
    this.#put({ ...row, blockerOf: users.includes(user.resource) ? users : [...users, user.resource] });
    this.#followUsers(resource);
  }

  #renew(event: StreamEvent): boolean {
    const names = event.slots && event.slots.length > 1 ? event.slots : [event.resource ?? ''];
    let changed = false;
    for (const name of names) {
      const known = this.#rows.get(name);
      if (!known || known.fencingToken !== event.fencingToken) continue;
      this.#put({ ...known, expiresAt: event.expiresAt ?? null });
      for (const blocker of known.blockers ?? []) this.#followUsers(blocker);
      changed = true;
    }
    return changed;
  }

  /** Ends what was granted no later than the event says: a newer grant of the same name stays. */
  #end(change: StreamEvent | EventChange, position: number): boolean {
    const slots = 'slots' in change ? change.slots : null;
    const names = slots && slots.length > 1 ? slots : [change.resource ?? ''];
    let changed = false;
    for (const name of names) {
      const known = this.#rows.get(name);
      if (!known || known.fencingToken > (change.fencingToken ?? position)) continue;
      if (known.blockerOf?.length) this.#put({ ...known, isTakenByName: false }); // still in use
      else this.#drop(known.resource);
      for (const blocker of known.blockers ?? []) this.#unblock(blocker, known);
      changed = true;
    }
    return changed;
  }

  #unblock(resource: string, user: Row): void {
    const known = this.#rows.get(resource);
    if (!known) return;
    const users = (known.blockerOf ?? []).filter((other) => other !== user.resource);
    const isTakenByName = known.isTakenByName ?? known.fencingToken !== user.fencingToken;
    if (users.length === 0 && !isTakenByName) return this.#drop(resource);
    this.#put({ ...known, isTakenByName, blockerOf: users.length === 0 ? null : users });
    this.#followUsers(resource);
  }

  /** The deadline of what is held as a blocker alone is the latest of its users', and none if one of them has none. */
  #followUsers(resource: string): void {
    const known = this.#rows.get(resource);
    if (!known || this.#isTakenByName(known)) return;
    const deadlines = (known.blockerOf ?? []).map((user) => this.#rows.get(user)?.expiresAt ?? null);
    if (deadlines.length === 0) return;
    const expiresAt = deadlines.reduce((latest, next) => (latest === null || next === null ? null : next > latest ? next : latest));
    this.#put({ ...known, expiresAt });
  }

  /** The list does not say it. What was taken along with its user has the user's fence. */
  #isTakenByName(row: Row): boolean {
    return row.isTakenByName ?? !row.blockerOf?.some((user) => this.#rows.get(user)?.fencingToken === row.fencingToken);
  }

  #reset(position: number): boolean {
    const before = this.#rows.size;
    for (const row of [...this.#rows.values()]) {
      if (row.fencingToken <= position) this.#drop(row.resource);
    }
    return this.#rows.size !== before;
  }
}

/** What was granted: an event, or one of the changes of a transaction. */
interface GrantLike {
  resource: string;
  requester?: string | null;
  fencingToken?: number | null;
  expiresAt?: string | null;
  resourceType?: string | null;
  note?: string | null;
  pool?: string | null;
  slots?: string[] | null;
  blockers?: string[] | null;
  reservedAtPath?: string | null;
}
