// The service under test, as other clients see it, and the hand that stops and starts it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';

import { PATIENCE_MS } from './browser.mjs';

/** Addresses of the replicas. */
export const REPLICAS = needed('HOLDFAST_URLS').split(',');
export const KEY = needed('HOLDFAST_KEY');

/** Names of this run alone. */
const run = randomUUID().slice(0, 6);
export const named = (name) => `${name}-${run}`;

export async function send(method, path, body, { replica = REPLICAS[0], key = KEY } = {}) {
  const response = await fetch(`${replica}${path.startsWith('/api') ? '' : '/api/v1'}${path}`, {
    method,
    headers: { 'X-Api-Key': key, ...(body !== undefined && { 'Content-Type': 'application/json' }) },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}

/** Reserves one thing that is free. */
export async function reserve(item, options) {
  const [grant] = await send('POST', '/Reservation/reserve', [item], options);
  assert.equal(grant.status, 'ACQUIRED', JSON.stringify(grant));
  return grant;
}

export async function release({ resource, requester, releaseToken }, options) {
  const [answer] = await send('POST', '/Reservation/unreserve', [{ resource, requester, releaseToken }], options);
  assert.equal(answer.status, 'RELINQUISHED', JSON.stringify(answer));
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks whoever started this to do something to the service: `redis kill`. */
export async function please(what) {
  console.log(`please: ${what}`);
  const { value } = await answers.next();
  assert.equal(value, 'done', `${what}: ${value}`);
}

function needed(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set; the test suite starts this with a service of its own`);
    process.exit(2);
  }
  return value;
}
