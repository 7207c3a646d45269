// The table of reservations: sorted, filtered, at most so many rows, each drawn again only when it changed.
//
// Names are other people's text. They reach the page as text nodes alone, never as markup.

import { count, moment, span } from './words.js';

const MOST_ROWS = 500; // a page with ten thousand rows scrolls badly and is not read; the filter finds the rest
const SOON_MS = 10_000;
const FRESH_MS = 2_000; // a row this young is lit up as it appears

const alphabet = new Intl.Collator(undefined, { numeric: true });
const ORDERS = {
  resource: (a, b) => alphabet.compare(a.resource, b.resource),
  requester: (a, b) => alphabet.compare(a.requester, b.requester) || alphabet.compare(a.resource, b.resource),
  reservedAt: (a, b) => byText(a.reservedAt, b.reservedAt) || a.fencingToken - b.fencingToken,
  expiresAt: (a, b) => byText(a.expiresAt ?? '~', b.expiresAt ?? '~') || alphabet.compare(a.resource, b.resource), // never: last
  fencingToken: (a, b) => a.fencingToken - b.fencingToken,
};

export class ReservationTable {
  #body;
  #more;
  #clock;
  #heads;
  #drawn = new Map(); // resource -> { line, row, countdown }
  #sortBy = 'reservedAt';
  #descending = true; // the newest on top: what just happened is what a watcher looks for

  constructor(table, more, clock, onSort) {
    this.#body = table.tBodies[0];
    this.#more = more;
    this.#clock = clock;
    this.#heads = [...table.querySelectorAll('th[data-sort]')];
    for (const head of this.#heads) {
      head.querySelector('button').addEventListener('click', () => {
        this.#chooseOrder(head.dataset.sort);
        onSort();
      });
    }
    this.#markOrder();
  }

  /** @param {object[]} rows those that match the filter, in any order; this sorts them */
  draw(rows) {
    const order = ORDERS[this.#sortBy];
    rows.sort(this.#descending ? (a, b) => order(b, a) : order);
    const shown = rows.slice(0, MOST_ROWS);
    this.#removeAllBut(shown);
    let next = this.#body.firstElementChild;
    for (const row of shown) {
      const line = this.#lineFor(row);
      if (line === next) next = next.nextElementSibling;
      else this.#body.insertBefore(line, next);
    }
    const hidden = rows.length - shown.length;
    this.#more.hidden = hidden === 0;
    this.#more.textContent = hidden === 0 ? '' : `and ${count(hidden)} more: filter or sort to find them`;
    this.tick();
  }

  /** Brings the countdowns of the drawn rows up to date. */
  tick() {
    const nowMs = this.#clock.nowMs();
    for (const { row, countdown } of this.#drawn.values()) {
      if (row.expiresAt === null) continue;
      const leftMs = Date.parse(row.expiresAt) - nowMs;
      const words = leftMs > 0 ? span(leftMs) : 'ending…'; // its end is told by the server, not guessed here
      if (countdown.textContent !== words) countdown.textContent = words;
      countdown.classList.toggle('soon', leftMs <= SOON_MS);
    }
  }

  #removeAllBut(shown) {
    const wanted = new Set(shown.map((row) => row.resource));
    for (const [resource, { line }] of this.#drawn) {
      if (wanted.has(resource)) continue;
      line.remove();
      this.#drawn.delete(resource);
    }
  }

  #lineFor(row) {
    const known = this.#drawn.get(row.resource);
    if (known?.row === row) return known.line;
    const line = known?.line ?? document.createElement('tr');
    line.classList.toggle('fresh', this.#clock.nowMs() - Date.parse(row.reservedAt) < FRESH_MS);
    const countdown = countdownCell(row.expiresAt);
    line.replaceChildren(
      nameCell(row),
      textCell(row.requester, 'requester'),
      sinceCell(row.reservedAt),
      countdown,
      textCell(row.note, 'note'),
      textCell(row.resourceType, 'quiet type'),
      textCell(row.apiKeyLabel, 'quiet'),
      textCell(String(row.fencingToken ?? ''), 'number quiet'),
    );
    this.#drawn.set(row.resource, { line, row, countdown });
    return line;
  }

  #chooseOrder(column) {
    this.#descending = this.#sortBy === column ? !this.#descending : column === 'reservedAt' || column === 'fencingToken';
    this.#sortBy = column;
    this.#markOrder();
  }

  #markOrder() {
    for (const head of this.#heads) {
      if (head.dataset.sort === this.#sortBy) head.setAttribute('aria-sort', this.#descending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }
}

function nameCell(row) {
  const head = document.createElement('th');
  head.scope = 'row';
  head.append(clamped(row.resource));
  const role = roleOf(row);
  if (role !== '') {
    const small = document.createElement('small');
    small.textContent = role;
    head.append(small);
  }
  return head;
}

/** What a row is, beyond a plain name: a slot, a blocker, a node of a tree. */
function roleOf(row) {
  const roles = [];
  if (row.pool && row.pool !== row.resource) roles.push(`slot of ${row.pool}`);
  if (row.blockerOf?.length > 0) roles.push(`taken with ${row.blockerOf.join(', ')}`);
  if (row.blockers?.length > 0) roles.push(`takes ${row.blockers.join(', ')} with it`);
  if (row.reservedAtPath) roles.push(`at ${row.reservedAtPath}`);
  return roles.join(' · ');
}

function textCell(text, classes = '') {
  const cell = document.createElement('td');
  cell.className = classes;
  if (text) cell.append(clamped(text));
  return cell;
}

function sinceCell(iso) {
  const cell = document.createElement('td');
  const time = document.createElement('time');
  time.dateTime = iso;
  time.title = iso;
  time.textContent = moment(iso);
  cell.append(time);
  return cell;
}

/** Its words come from `tick`, but for what never ends. */
function countdownCell(iso) {
  const cell = document.createElement('td');
  cell.className = iso === null ? 'quiet' : 'countdown';
  cell.title = iso ?? '';
  if (iso === null) cell.textContent = 'no expiry';
  return cell;
}

/** A name may be a thousand bytes long: a few lines of it, and the rest in the title. */
function clamped(text) {
  const box = document.createElement('span');
  box.className = 'clamped';
  box.textContent = text;
  box.title = text;
  return box;
}

function byText(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
