// Who is signed in, and what the key behind the session may do.

import { computed, signal } from '@preact/signals';

import { call, callWithPosition, whenSignedOut, Refusal } from './client';
import { inWords } from './errors';
import type { Scope, Session } from './types';

const SESSION = '/api/v1/session';

/** The session; null: signed out; undefined: not known yet. */
export const session = signal<Session | null | undefined>(undefined);

/** Why the person was signed out, if it was not they themselves. */
export const signedOutBecause = signal<string | null>(null);

/** Whose data it is; null: nobody is signed in. Changes only with the tenant, unlike the session, which is read again and again. */
export const tenantId = computed(() => session.value?.tenantId ?? null);

export const scopes = computed<ReadonlySet<Scope>>(() => new Set(session.value?.scopes));

/** Whether the signed-in key has a scope: an action is offered where it has. */
export function may(scope: Scope): boolean {
  return scopes.value.has(scope);
}

whenSignedOut(() => {
  if (session.value) signedOutBecause.value = 'You were signed out: the session ended, or its key was revoked.';
  session.value = null;
});

/** Asks who is signed in. Null: nobody. @returns the tenant's latest position, with what is used of the limits */
export async function readSession(): Promise<number | null> {
  try {
    const answer = await callWithPosition<Session>('GET', SESSION);
    session.value = answer.body;
    return answer.position;
  } catch (fault) {
    if (fault instanceof Refusal && fault.status === 401) return null;
    throw fault;
  }
}

/** @throws {Refusal} the key is not known @throws {Unreachable} there was no answer */
export async function signIn(apiKey: string): Promise<void> {
  session.value = await call<Session>('POST', SESSION, { body: { apiKey } });
  signedOutBecause.value = null;
}

const LINK = /^#\/sign-in(?:\?(.*))?$/;

/**
 * Signs in with the key of a link, as the demo prints one: now, if the address is one, and whenever it becomes one, since a tab that
 * shows Holdfast already loads nothing when the link is put into its address.
 */
export async function followSignInLinks(): Promise<void> {
  // Capturing listeners come first: nobody else sees the key.
  addEventListener('hashchange', () => void signInByLink(), { capture: true });
  await signInByLink();
}

/** What stands behind `#` no server and no log sees, and it is taken out of the address and of its history at once. */
async function signInByLink(): Promise<void> {
  const link = LINK.exec(location.hash);
  if (link === null) return;
  history.replaceState(null, '', location.pathname);
  dispatchEvent(new HashChangeEvent('hashchange'));
  const key = new URLSearchParams(link[1]).get('key')?.trim();
  if (!key) return;
  try {
    await signIn(key);
  } catch (fault) {
    signedOutBecause.value = inWords(fault);
    session.value = null;
  }
}

export async function signOut(): Promise<void> {
  await call('DELETE', SESSION).catch((fault: unknown) => {
    if (!(fault instanceof Refusal && fault.status === 401)) throw fault;
  });
  session.value = null;
  signedOutBecause.value = null;
  // A service without keys lets everybody in.
  await readSession();
}
