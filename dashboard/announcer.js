// What happens, said aloud to people who listen instead of look: one sentence every few seconds, not one per event.

import { describe } from './describe.js';
import { plural } from './words.js';

const PAUSE_MS = 5_000;

export class Announcer {
  #region;
  #waiting = [];
  #timer = null;

  constructor(region) {
    this.#region = region;
  }

  add(event) {
    this.#waiting.push(event);
    this.#timer ??= setTimeout(() => this.#speak(), this.#region.textContent === '' ? 0 : PAUSE_MS);
  }

  #speak() {
    this.#timer = null;
    const { title, subject, requester } = describe(this.#waiting.at(-1));
    const others = this.#waiting.length - 1;
    this.#waiting = [];
    const sentence = [subject, title, requester && `by ${requester}`].filter(Boolean).join(' ');
    this.#region.textContent = others === 0 ? sentence : `${sentence}, and ${plural(others, 'more event', 'more events')}`;
  }
}
