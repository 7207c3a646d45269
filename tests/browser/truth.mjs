// The page says how true it is: through outages of Redis and of its replica, a drain, and slow networks.

import assert from 'node:assert/strict';

import { becomes, openTab, openWindow, rowOf, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, named, please, release, REPLICAS, reserve } from './support/service.mjs';

const [HERE, ELSEWHERE] = REPLICAS;
const elsewhere = { replica: ELSEWHERE };
const LONG_S = 3_600;
const SOON_MS = 10_000; // the replica itself takes 2 s to call Redis away, and the page asks every 2 s
const BACK_MS = 30_000;
const BEHIND_MS = 20_000; // the page compares its position with the tenant's every 10 s

await run([
  ['Redis killed is said within seconds, and is back by itself', redisIsAway],
  ['a replica killed is said at once, and nothing is lost when it is back', theReplicaIsAway],
  ['a network that is gone is said, and what happened meanwhile is told once', theNetworkIsAway],
  ['a stream that has not told what has happened is said to be behind', theStreamIsBehind],
  ['a server that was never there is said', aServerThatIsNotThere],
]);

async function open(browser) {
  const context = await openWindow(browser);
  const page = await openTab(context, `${HERE}/`);
  await signIn(page, KEY);
  await becomes(page, 'live');
  return { context, page };
}

/** Reads the state at every change from now on: what was said in between counts too. */
async function watchStates(page) {
  await page.evaluate(() => {
    const place = document.getElementById('truth');
    window.states = [place.dataset.state];
    new MutationObserver(() => window.states.push(place.dataset.state)).observe(place, { attributes: true, attributeFilter: ['data-state'] });
  });
  return () => page.evaluate(() => window.states.filter((state, at, all) => state !== all[at - 1]));
}

async function redisIsAway(browser) {
  const { context, page } = await open(browser);
  const held = await reserve({ resource: named('kept'), requester: named('w'), ttlSeconds: LONG_S });
  await rowOf(page, held.resource).waitFor();
  await please('redis kill');
  await becomes(page, 'redis-away', SOON_MS);
  await page.getByText('does not reach Redis').waitFor();
  await page.getByText(/What you see is \d+ s old/).waitFor();
  assert.equal(await rowOf(page, held.resource).count(), 1, 'what is known stays in sight');
  // An action is refused in words for people.
  await rowOf(page, held.resource).click();
  await page.getByRole('button', { name: 'Release by force…' }).click();
  await page.getByRole('dialog').getByLabel('Reason').fill('to see');
  await page.getByRole('dialog').getByRole('button', { name: 'Release by force' }).click();
  await page.getByRole('alert').filter({ hasText: 'Redis is away' }).waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();

  await please('redis restart');
  await becomes(page, 'live', BACK_MS);
  assert.equal(await page.locator('.notice').count(), 0);
  await release(held);
  await rowOf(page, held.resource).waitFor({ state: 'detached' });
  assert.equal(page.loads, 1);
  return context;
}

async function theReplicaIsAway(browser) {
  const { context, page } = await open(browser);
  const gone = await reserve({ resource: named('gone'), requester: named('w'), ttlSeconds: LONG_S });
  await rowOf(page, gone.resource).waitFor();
  const states = await watchStates(page);
  await please('replica kill');
  await becomes(page, 'reconnecting', SOON_MS);
  await release(gone, elsewhere);
  const arrived = await reserve({ resource: named('arrived'), requester: named('w'), ttlSeconds: LONG_S }, elsewhere);
  assert.equal(await rowOf(page, gone.resource).count(), 1, 'the page cannot know yet');
  await please('replica restart');
  await becomes(page, 'live', BACK_MS);
  await rowOf(page, arrived.resource).waitFor();
  await rowOf(page, gone.resource).waitFor({ state: 'detached' });
  const seen = await states();
  assert.equal(seen.filter((state) => state === 'live').length, 2, `live before and after, never between: ${seen}`);
  assert.equal(page.loads, 1);
  await release(arrived, elsewhere);
  return context;
}

async function theNetworkIsAway(browser) {
  const { context, page } = await open(browser);
  await context.setOffline(true);
  await becomes(page, 'reconnecting', SOON_MS);
  const arrived = await reserve({ resource: named('meanwhile'), requester: named('w'), ttlSeconds: LONG_S });
  await context.setOffline(false);
  await becomes(page, 'live', BACK_MS);
  await rowOf(page, arrived.resource).waitFor();
  await page.goto(`${HERE}/#/events?q=${arrived.resource}`);
  await page.locator('[role="grid"] .body [role="row"]').first().waitFor();
  assert.equal(await page.locator('[role="grid"] .body [role="row"]').count(), 1, 'told once');
  await release(arrived);
  return context;
}

async function theStreamIsBehind(browser) {
  const { context, page } = await open(browser);
  const told = await reserve({ resource: named('told'), requester: named('w'), ttlSeconds: LONG_S });
  await rowOf(page, told.resource).waitFor();
  // The tenant has got further than that, and the stream has not told of it.
  await page.route('**/api/v1/session', async (route) => {
    const response = await route.fetch();
    const position = Number(response.headers()['holdfast-position']) + 1;
    await route.fulfill({ response, headers: { ...response.headers(), 'holdfast-position': String(position) } });
  });
  await becomes(page, 'behind', BEHIND_MS);
  await page.getByText(/Events arrive late: this page is \d+ s behind/).waitFor();
  await page.unroute('**/api/v1/session');
  await release(told);
  await rowOf(page, told.resource).waitFor({ state: 'detached' });
  await becomes(page, 'live', SOON_MS);
  return context;
}

async function aServerThatIsNotThere(browser) {
  const context = await openWindow(browser);
  const page = await openTab(context, `${HERE}/`);
  await page.route('**/api/**', (route) => route.abort());
  await page.route('**/readyz', (route) => route.abort());
  await page.reload();
  await page.getByRole('status').filter({ hasText: /cannot be reached|connection to the server/ }).waitFor();
  await page.unroute('**/api/**');
  await page.unroute('**/readyz');
  await page.locator('#key').waitFor();
  return context;
}
