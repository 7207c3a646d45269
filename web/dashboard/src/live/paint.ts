// What changes often is painted in turns, however often it changes: a person reads ten pictures a second at most, and the
// browser needs the time between them to answer the keyboard.

import { batch, type Signal } from '@preact/signals';

const SHORTEST_PAUSE_MS = 100;
// A turn that took long is followed by a pause of three times that, so that painting never takes more than a quarter.
const PAUSE_PER_WORK = 3;

const due = new Set<Signal<number>>();
let isPlanned = false;
let notBefore = 0;

/** Raises a version at the next turn. */
export function paintSoon(version: Signal<number>): void {
  due.add(version);
  if (isPlanned) return;
  isPlanned = true;
  setTimeout(() => requestAnimationFrame(paint), Math.max(0, notBefore - performance.now()));
}

function paint(): void {
  const began = performance.now();
  isPlanned = false;
  const versions = [...due];
  due.clear();
  batch(() => {
    for (const version of versions) version.value += 1;
  });
  // What the browser does with it (style, layout, paint) ends after this task.
  setTimeout(() => {
    const took = performance.now() - began;
    notBefore = performance.now() + Math.max(SHORTEST_PAUSE_MS, took * PAUSE_PER_WORK);
  });
  notBefore = began + SHORTEST_PAUSE_MS;
}
