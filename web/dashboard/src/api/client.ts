// Calls of the API. The session's cookie proves who calls; no key is in reach of a script.

import { learnTime } from './clock';
import { Refusal, Unreachable, refusalOf } from './errors';

const PATIENCE_MS = 30_000;

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface CallOptions {
  body?: unknown;
  /** Null and undefined are left out. */
  query?: Record<string, string | number | null | undefined>;
  signal?: AbortSignal;
  /** For the routes under `/api/v1/admin`, whose key no cookie stands for. */
  adminKey?: string;
}

export interface Answer<Body> {
  body: Body;
  /** The tenant's latest position when the answer was made; null where the answer does not say. */
  position: number | null;
}

let onSignedOut = (): void => {};

/** Says what is to happen when the server does not know the session any more. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

/**
 * Calls the API and gives the answer's body.
 *
 * @throws {Refusal} the server said no @throws {Unreachable} there was no answer
 */
export async function call<Body>(method: Method, path: string, options: CallOptions = {}): Promise<Body> {
  return (await callWithPosition<Body>(method, path, options)).body;
}

export async function callWithPosition<Body>(method: Method, path: string, options: CallOptions = {}): Promise<Answer<Body>> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, patience]) : patience;
  const headers: Record<string, string> = {};
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  if (options.adminKey !== undefined) headers['X-Admin-Key'] = options.adminKey;
  const response = await send(`${path}${queryOf(options.query)}`, {
    method,
    headers,
    signal,
    ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
  });
  const position = Number(response.headers.get('Holdfast-Position'));
  const text = await response.text().catch(unreachable);
  const body = (text === '' ? undefined : JSON.parse(text)) as Body;
  return { body, position: position > 0 ? position : null };
}

/** The head of an answer whose body goes on, as of an event stream. */
export async function send(path: string, init: RequestInit): Promise<Response> {
  const sentAtMs = Date.now();
  const response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', ...init }).catch(unreachable);
  learnTime(response.headers, sentAtMs, Date.now());
  if (response.ok) return response;
  const refusal = await refusalOf(response);
  // The admin key is no session: a wrong one signs nobody out.
  const isOfSession = !(init.headers && 'X-Admin-Key' in init.headers);
  if (response.status === 401 && isOfSession) onSignedOut();
  throw refusal;
}

export function queryOf(query: CallOptions['query'] = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') parameters.set(name, String(value));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

/** A name as a part of a path. */
export function pathPart(name: string): string {
  return encodeURIComponent(name);
}

function unreachable(cause: unknown): never {
  if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
  throw new Unreachable(cause);
}

export { Refusal, Unreachable };
