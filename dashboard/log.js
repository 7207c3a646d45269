// The list of live events, newest on top: the last five hundred, each drawn once.

import { concerns, describe } from './describe.js';
import { moment } from './words.js';

const MOST_ENTRIES = 500;

export class EventLog {
  #list;
  #entries = []; // oldest first
  #undrawn = 0; // how many at the end of the entries are not on the page yet
  #needle = '';

  /** How many events this page has seen, those no longer listed too. */
  seen = 0;

  constructor(list) {
    this.#list = list;
  }

  add(event) {
    this.seen += 1;
    this.#undrawn += 1;
    this.#entries.push(event);
    // Trimmed in big steps: shifting an array at every event would cost more than it keeps.
    if (this.#entries.length >= 2 * MOST_ENTRIES) this.#entries = this.#entries.slice(-MOST_ENTRIES);
  }

  clear() {
    this.#entries = [];
    this.#undrawn = 0;
    this.seen = 0;
    this.#list.replaceChildren();
  }

  /** @param {string} needle lower case; empty shows all */
  draw(needle) {
    if (needle !== this.#needle) {
      this.#needle = needle;
      this.#list.replaceChildren();
      this.#undrawn = this.#entries.length;
    }
    if (this.#undrawn === 0) return;
    const fresh = this.#entries.slice(-Math.min(this.#undrawn, MOST_ENTRIES));
    this.#undrawn = 0;
    const matching = needle === '' ? fresh : fresh.filter((event) => concerns(event, needle));
    this.#list.prepend(...matching.reverse().map(line));
    while (this.#list.childElementCount > MOST_ENTRIES) this.#list.lastElementChild.remove();
  }

  get isEmpty() {
    return this.#entries.length === 0;
  }

  get showsNothing() {
    return this.#list.childElementCount === 0;
  }
}

function line(event) {
  const { title, tone, subject, requester, detail } = describe(event);
  const item = document.createElement('li');
  item.dataset.type = event.type;
  const time = document.createElement('time');
  const at = event.timestamp ?? new Date().toISOString();
  time.dateTime = at;
  time.title = at;
  time.textContent = moment(at);
  const head = document.createElement('div');
  head.className = 'event-head';
  head.append(piece('span', 'badge', title), time);
  head.firstElementChild.dataset.tone = tone;
  item.append(head);
  if (subject !== '' || requester !== '') item.append(whatAndWho(subject, requester));
  if (detail !== '') item.append(piece('p', 'detail clamped', detail));
  return item;
}

/** `job-42 by worker-1`. Each name keeps its own direction: one written right to left must not turn the sentence around. */
function whatAndWho(subject, requester) {
  const sentence = document.createElement('p');
  sentence.className = 'clamped';
  sentence.title = [subject, requester && `by ${requester}`].filter(Boolean).join(' ');
  sentence.append(piece('bdi', 'subject', subject));
  if (requester !== '') sentence.append(' by ', piece('bdi', 'requester', requester));
  return sentence;
}

function piece(tag, classes, text) {
  const element = document.createElement(tag);
  element.className = classes;
  element.textContent = text;
  return element;
}
