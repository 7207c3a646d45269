// Short words about what just happened, at the edge of the page.

import { signal } from '@preact/signals';
import type { JSX } from 'preact';

import { inWords } from '../api/errors';

interface Toast {
  id: number;
  text: string;
  tone: 'good' | 'bad';
}

const SHOWN_MS = 6_000;
const MOST = 4;
let lastId = 0;
const toasts = signal<readonly Toast[]>([]);

function drop(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/** Something went well; it goes away by itself. */
export function tell(text: string): void {
  lastId += 1;
  const id = lastId;
  toasts.value = [...toasts.value.slice(1 - MOST), { id, text, tone: 'good' }];
  setTimeout(() => drop(id), SHOWN_MS);
}

/** Something did not: it stays until the person has read it. */
export function tellFault(fault: unknown): void {
  lastId += 1;
  toasts.value = [...toasts.value.slice(1 - MOST), { id: lastId, text: inWords(fault), tone: 'bad' }];
}

export function Toasts(): JSX.Element {
  const of = (tone: Toast['tone']): JSX.Element[] => toasts.value.filter((toast) => toast.tone === tone).map((toast) => (
    <div key={toast.id} class="toast" data-tone={toast.tone}>
      <p>{toast.text}</p>
      <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => drop(toast.id)}>×</button>
    </div>
  ));
  return (
    <div class="toasts">
      <div role="status">{of('good')}</div>
      <div role="alert">{of('bad')}</div>
    </div>
  );
}
