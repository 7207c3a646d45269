// Where the person is: a view and its parameters, in the address, so that what is seen can be shared and comes back on reload.
//
// They stand behind the `#`, where no server and no proxy's log sees the names that somebody searches for.

import { computed, signal } from '@preact/signals';

export interface Place {
  view: string;
  parameters: URLSearchParams;
}

function read(): Place {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split('?', 2);
  return { view: path, parameters: new URLSearchParams(query) };
}

export const place = signal<Place>(read());
addEventListener('hashchange', () => (place.value = read()));

/** The address of a view. */
export function hrefOf(view: string, parameters: Record<string, string | null | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value) query.set(name, value);
  const text = query.toString();
  return `#/${view}${text === '' ? '' : `?${text}`}`;
}

export function go(view: string, parameters: Record<string, string | null | undefined> = {}): void {
  location.hash = hrefOf(view, parameters).slice(1);
}

/**
 * Changes parameters of this view; null or an empty text removes one.
 *
 * @param how `replace` for what changes with each letter, so that Back leads to the view before
 */
export function setParameters(changes: Record<string, string | null>, how: 'push' | 'replace' = 'replace'): void {
  const current = read();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') current.parameters.delete(name);
    else current.parameters.set(name, value);
  }
  const text = current.parameters.toString();
  const address = `#/${current.view}${text === '' ? '' : `?${text}`}`;
  if (how === 'push') history.pushState(null, '', address);
  else history.replaceState(history.state, '', address);
  place.value = read();
}

/** One parameter of the address as a signal; empty when it is not there. */
export function parameter(name: string): { readonly value: string } {
  return computed(() => place.value.parameters.get(name) ?? '');
}
