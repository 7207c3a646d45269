// The dashboard: asks for a key, then shows what is held and what happens, without a reload.

import { Announcer } from './announcer.js';
import { Api, Refusal } from './api.js';
import { Board } from './board.js';
import { ServerClock } from './clock.js';
import { fillCommands } from './commands.js';
import { contains } from './describe.js';
import { follow } from './follow.js';
import { EventLog } from './log.js';
import { painter } from './painter.js';
import { ReservationTable } from './table.js';
import { count } from './words.js';

const KEPT_KEY = 'holdfast.apiKey'; // in sessionStorage: ends with the tab
const TICK_MS = 500; // twice a second, so that no second of a countdown is skipped

const at = (id) => document.getElementById(id);
const clock = new ServerClock();
const board = new Board();
const log = new EventLog(at('events'));
const announcer = new Announcer(at('announcer'));
const table = new ReservationTable(at('reservations'), at('reservations-more'), clock, () => paint());
const paint = painter(draw);

let current = null; // the AbortController of the tenant being followed

function draw() {
  const needle = at('filter').value.trim().toLowerCase();
  const requesters = new Set();
  const matching = [];
  for (const row of board.rows()) {
    requesters.add(row.requester);
    if (needle === '' || contains(row.resource, needle) || contains(row.requester, needle)) matching.push(row);
  }
  table.draw(matching);
  log.draw(needle);
  at('count-held').textContent = needle === '' ? count(board.size) : `${count(matching.length)} of ${count(board.size)}`;
  at('count-requesters').textContent = count(requesters.size);
  at('count-events').textContent = count(log.seen);
  at('reservations-scroll').hidden = matching.length === 0;
  at('reservations-empty').hidden = board.size > 0;
  at('reservations-unmatched').hidden = board.size === 0 || matching.length > 0;
  at('events-scroll').hidden = log.showsNothing;
  at('events-empty').hidden = !log.isEmpty;
  at('events-unmatched').hidden = log.isEmpty || !log.showsNothing;
}

/** What the followed stream tells, as the page shows it. */
const page = {
  connecting() {
    if (at('connection').dataset.state !== 'reconnecting') show('connecting', 'Connecting…');
  },
  live() {
    show('live', 'Live');
    notice(null);
  },
  waiting(why) {
    show('reconnecting', 'Reconnecting…');
    if (at('board').hidden) signInError(why);
    else notice(why && `${why} What you see may be out of date.`);
  },
  listed(list) {
    board.replace(list.reservations, list.asOf);
    at('key').value = '';
    signInError(null);
    at('sign-in').hidden = true;
    at('board').hidden = false;
    at('disconnect').hidden = false;
    paint();
  },
  happened(event) {
    log.add(event);
    announcer.add(event);
    board.apply(event);
    paint();
  },
};

async function connect(key) {
  current?.abort(); // still trying with another key
  const here = new AbortController();
  current = here;
  signInError(null);
  try {
    await follow(new Api(key, clock), page, here.signal);
  } catch (fault) {
    // Only a final refusal ends the following. Anything else is a bug of this page and goes to the console, too.
    disconnect();
    if (!(fault instanceof Refusal)) throw fault;
    signInError(fault.message);
    show('refused', fault.status === 401 ? 'Wrong key' : 'Not allowed');
    at('key').select();
  }
}

function disconnect() {
  current?.abort();
  current = null;
  sessionStorage.removeItem(KEPT_KEY);
  board.replace([], 0);
  log.clear();
  notice(null);
  show('signed-out', 'Not connected');
  at('board').hidden = true;
  at('disconnect').hidden = true;
  at('sign-in').hidden = false;
  at('key').focus();
}

function show(state, words) {
  const place = at('connection');
  place.dataset.state = state;
  if (place.textContent !== words) place.textContent = words;
}

function notice(words) {
  at('notice').hidden = !words;
  at('notice').textContent = words ?? '';
}

function signInError(words) {
  at('sign-in-error').hidden = !words;
  at('sign-in-error').textContent = words ?? '';
  at('key').setAttribute('aria-invalid', String(Boolean(words)));
}

at('sign-in-form').addEventListener('submit', (submission) => {
  submission.preventDefault();
  const key = at('key').value.trim();
  if (at('keep').checked) sessionStorage.setItem(KEPT_KEY, key);
  connect(key);
});
at('disconnect').addEventListener('click', disconnect);
at('filter').addEventListener('input', () => paint());
setInterval(() => table.tick(), TICK_MS);

fillCommands();
const kept = sessionStorage.getItem(KEPT_KEY);
if (kept !== null) connect(kept);
else at('sign-in').hidden = false;
