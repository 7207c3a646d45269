// What is held, by resource: a list, kept true by the events after it.
//
// No drawing here, no network and no clock, so that it can be tested by itself. Rows are never changed in place: a row that
// is a new object is a row to draw again.

export class Board {
  /** @type {Map<string, object>} */
  #rows = new Map();
  #asOf = 0;

  get size() {
    return this.#rows.size;
  }

  rows() {
    return this.#rows.values();
  }

  /** Starts over from a list that holds everything up to the position `asOf`. */
  replace(reservations, asOf) {
    this.#asOf = asOf;
    this.#rows = new Map();
    for (const row of reservations) {
      const known = this.#rows.get(row.resource);
      if (!known || row.fencingToken >= known.fencingToken) this.#rows.set(row.resource, row);
    }
  }

  /**
   * Applies one event of the stream. Refusals, platform events and what the list already holds change nothing.
   *
   * @returns {boolean} whether the board changed
   */
  apply(event) {
    const position = Number(event.id ?? 0);
    if (position <= this.#asOf) return false;
    switch (event.type) {
      case 'RESERVED':
        return this.#grant(event, event);
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

  #applyChanges(event, position) {
    let changed = false;
    for (const change of event.changes ?? []) {
      if (change.requestType === 'RESERVE' && change.explanation === 'ACQUIRED') changed = this.#grant(change, event) || changed;
      if (change.requestType === 'UNRESERVE' && change.explanation === 'RELINQUISHED') changed = this.#end(change, position) || changed;
    }
    return changed;
  }

  /** @param {object} change what was granted: the event, or one of its changes @param {object} event who asked, and when */
  #grant(change, event) {
    const known = this.#rows.get(change.resource);
    if (known && known.fencingToken > change.fencingToken) return false;
    const row = {
      resource: change.resource,
      requester: change.requester ?? event.requester,
      reservedAt: event.timestamp,
      expiresAt: change.expiresAt ?? null,
      resourceType: change.resourceType ?? event.resourceType ?? null,
      apiKeyLabel: event.apiKeyLabel ?? null,
      note: change.note ?? null,
      pool: change.pool ?? null,
      reservedAtPath: change.reservedAtPath ?? null,
      blockers: change.blockers ?? null,
      blockerOf: known?.blockerOf ?? null,
      fencingToken: change.fencingToken,
      isTakenByName: true,
    };
    this.#rows.set(row.resource, row);
    for (const blocker of row.blockers ?? []) this.#block(blocker, row);
    return true;
  }

  /** A blocker is taken with its user. It has no event of its own and, unless taken by name too, no deadline of its own. */
  #block(resource, user) {
    const known = this.#rows.get(resource);
    const users = known?.blockerOf ?? [];
    const row = known ?? { ...user, resource, note: null, pool: null, reservedAtPath: null, blockers: null, isTakenByName: false };
    this.#rows.set(resource, { ...row, blockerOf: users.includes(user.resource) ? users : [...users, user.resource] });
    this.#followUsers(resource);
  }

  #renew(event) {
    const known = this.#rows.get(event.resource);
    if (!known || known.fencingToken !== event.fencingToken) return false;
    this.#rows.set(known.resource, { ...known, expiresAt: event.expiresAt ?? null });
    for (const blocker of known.blockers ?? []) this.#followUsers(blocker);
    return true;
  }

  /** Ends what was granted no later than the event says: a newer grant of the same name stays. */
  #end(change, position) {
    const known = this.#rows.get(change.resource);
    if (!known || known.fencingToken > (change.fencingToken ?? position)) return false;
    if (known.blockerOf?.length > 0) this.#rows.set(known.resource, { ...known, isTakenByName: false }); // still in use
    else this.#rows.delete(known.resource);
    for (const blocker of known.blockers ?? []) this.#unblock(blocker, known.resource);
    return true;
  }

  #unblock(resource, user) {
    const known = this.#rows.get(resource);
    if (!known) return;
    const users = (known.blockerOf ?? []).filter((other) => other !== user);
    if (users.length === 0 && !known.isTakenByName) {
      this.#rows.delete(resource);
      return;
    }
    this.#rows.set(resource, { ...known, blockerOf: users.length === 0 ? null : users });
    this.#followUsers(resource);
  }

  /** The deadline of what is held as a blocker alone is the latest of its users', and none if one of them has none. */
  #followUsers(resource) {
    const known = this.#rows.get(resource);
    if (!known || known.isTakenByName) return;
    const deadlines = (known.blockerOf ?? []).map((user) => this.#rows.get(user)?.expiresAt ?? null);
    if (deadlines.length === 0) return;
    const expiresAt = deadlines.includes(null) ? null : deadlines.reduce((latest, next) => (next > latest ? next : latest));
    this.#rows.set(resource, { ...known, expiresAt });
  }

  #reset(position) {
    const before = this.#rows.size;
    for (const row of this.#rows.values()) {
      if (row.fencingToken <= position) this.#rows.delete(row.resource);
    }
    return this.#rows.size !== before;
  }
}
