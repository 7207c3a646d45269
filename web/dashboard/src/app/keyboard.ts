// Keys that work everywhere on the page. Each is told in the list that `?` opens.

import { signal } from '@preact/signals';

export interface Shortcut {
  /** Keys in order, with spaces: `g r`, `/`. As `KeyboardEvent.key` names them. */
  keys: string;
  what: string;
  run: () => void;
}

const SEQUENCE_MS = 1_200;
const shortcuts = new Map<string, Shortcut>();

/** Changes when a shortcut came or went. */
export const shortcutsVersion = signal(0);
export const isHelpOpen = signal(false);

/** @returns takes it away again */
export function addShortcut(shortcut: Shortcut): () => void {
  shortcuts.set(shortcut.keys, shortcut);
  shortcutsVersion.value += 1;
  return () => {
    if (shortcuts.get(shortcut.keys) !== shortcut) return;
    shortcuts.delete(shortcut.keys);
    shortcutsVersion.value += 1;
  };
}

export function allShortcuts(): Shortcut[] {
  return [...shortcuts.values()];
}

let begun = '';
let begunAtMs = 0;

document.addEventListener('keydown', (press) => {
  if (press.ctrlKey || press.metaKey || press.altKey || press.defaultPrevented || isTyping(press.target)) return;
  if (document.querySelector('dialog[open]')) return;
  const isContinued = begun !== '' && press.timeStamp - begunAtMs < SEQUENCE_MS;
  const keys = isContinued ? `${begun} ${press.key}` : press.key;
  const found = shortcuts.get(keys) ?? shortcuts.get(press.key);
  begun = !isContinued && [...shortcuts.keys()].some((known) => known.startsWith(`${press.key} `)) ? press.key : '';
  begunAtMs = press.timeStamp;
  if (!found || (begun !== '' && !isContinued && found.keys !== press.key)) return;
  press.preventDefault();
  begun = '';
  found.run();
});

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
