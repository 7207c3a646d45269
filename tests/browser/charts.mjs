// The charts in a real Chromium, against what really happened.

import assert from 'node:assert/strict';

import { becomes, openTab, openWindow, rowOf, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, named, release, REPLICAS, reserve, send } from './support/service.mjs';

const [HERE, ELSEWHERE] = REPLICAS;
const elsewhere = { replica: ELSEWHERE };
const TRIES_MS = 20_000;

await run([
  ['the first page does not load the charts', theFirstPageIsLight],
  ['what happened before the page was opened is counted', theHistoryIsCounted],
  ['what happens now is counted without a reload', liveEventsAreCounted],
  ['what is held longest, and what is held without an end, is listed', longHoldsAreListed],
  ['charts leave no hole beside them, however wide the window is', chartsFillTheWidth],
  ['who cannot see the pictures reads them as tables', tablesTellTheSame],
  ['a reset ends what was held', aResetEndsAll],
]);

async function open(browser, path, options = {}) {
  const context = await openWindow(browser, options);
  const page = await openTab(context, `${HERE}/${path}`);
  await signIn(page, KEY);
  await becomes(page, 'live');
  return { context, page };
}

async function isWhole(page) {
  await page.locator('#charts-state[data-state="whole"]').waitFor();
}

/** Waits until one of the numbers above the charts is so. */
async function figure(page, id, expected) {
  await page
    .locator(`#${id}`)
    .filter({ hasText: new RegExp(`^${expected}$`) })
    .waitFor({ timeout: TRIES_MS });
}

async function numberIn(page, id) {
  return Number((await page.locator(`#${id}`).textContent()).replaceAll(',', ''));
}

async function theFirstPageIsLight(browser) {
  const { context, page } = await open(browser, '#/reservations');
  const loaded = () =>
    page.evaluate(() =>
      performance
        .getEntriesByType('resource')
        .map((entry) => entry.name)
        .filter((name) => /\.js$/.test(name)),
    );
  const before = await loaded();
  assert.ok(before.length > 0);
  assert.deepEqual(
    before.filter((name) => /charts|uplot/i.test(name)),
    [],
  );
  await page.keyboard.press('g');
  await page.keyboard.press('c');
  await page.getByRole('heading', { level: 1, name: 'Charts' }).waitFor();
  assert.equal((await loaded()).filter((name) => /charts/.test(name)).length, 1);
  return context;
}

/** Twelve grants: four are released, three expire, one served a wait, and the others stay. */
async function theHistoryIsCounted(browser) {
  const who = named('w');
  await send('POST', '/Resource/register', [
    { name: named('pool'), capacity: 3 },
    { name: named('door'), blocks: [named('hall')] },
  ]);
  const released = [];
  for (let n = 0; n < 3; n++) released.push(await reserve({ resource: named(`released-${n}`), requester: who }));
  for (let n = 0; n < 3; n++) await reserve({ resource: named(`expires-${n}`), requester: who, ttlSeconds: 1 });
  await reserve({ resource: named('endless'), requester: who, note: 'nobody knows' });
  await reserve({ resource: named('pool'), requester: who, quantity: 3 });
  await reserve({ resource: named('door'), requester: who, ttlSeconds: 3_600 });
  const wished = await reserve({ resource: named('wished'), requester: who });
  const began = Date.now();
  const wish = { resource: named('wished'), requester: named('late'), waitSeconds: 600, keepAliveSeconds: 600 };
  await send('POST', '/Reservation/reserve', [wish]);
  await new Promise((resolve) => setTimeout(resolve, 1_200)); // a time that is waited
  for (const grant of [...released, wished]) await release(grant);
  const waitedMs = Date.now() - began;
  await send('POST', '/Reservation/transactions', [
    { method: 'ALL_OR_NONE', requestType: 'RESERVE', requests: [{ resource: named('group'), requester: who }] },
  ]);
  await send('POST', '/Reservation/reserve', [{ ...wish, requester: named('later') }]);
  await until(async () => !(await held()).some((row) => row.resource.includes('expires-')), 'what expires has expired');

  const { context, page } = await open(browser, '#/charts');
  await isWhole(page);
  // Three released, three that expired, endless, the pool, the door, wished twice, the group.
  await figure(page, 'grants', 12);
  await figure(page, 'expiries', 3);
  assert.equal(await numberIn(page, 'held-now'), (await held()).length);
  await figure(page, 'held-now', 8); // endless, three slots, the door and its hall, wished, the group
  await figure(page, 'waiting-now', 1);
  const wait = await page.getByRole('figure', { name: 'How long somebody waited' }).textContent();
  const seconds = Number(wait.match(/Of 1 wait half took at most (\d+(\.\d)?) s/)?.[1]);
  assert.ok(seconds >= 1.2 && seconds * 1_000 <= waitedMs + 100, `${seconds} s of ${waitedMs} ms`);
  const hold = await page.getByRole('figure', { name: 'How long things were held' }).textContent();
  assert.match(hold, /Of 7 holds half took at most/);
  assert.equal(await lastOf(page, 'Held', 0), '8');
  assert.equal(await lastOf(page, 'Waiting', 0), '1');
  return context;
}

async function held() {
  return (await send('GET', '/Reservation/activeReservations?limit=1000')).reservations;
}

async function until(isSo, what) {
  for (const end = Date.now() + TRIES_MS; !(await isSo()); await new Promise((resolve) => setTimeout(resolve, 100)))
    assert.ok(Date.now() < end, what);
}

/** The newest row of a chart's table. */
async function lastOf(page, chart, column) {
  const figureOf = page.getByRole('figure', { name: chart, exact: true });
  const details = figureOf.locator('details');
  if (!(await details.evaluate((element) => element.open))) await details.locator('summary').click();
  return (await figureOf.locator('tbody tr').first().locator('td').nth(column).textContent()).trim();
}

async function liveEventsAreCounted(browser) {
  const { context, page } = await open(browser, '#/charts');
  await isWhole(page);
  const [grants, heldNow, refusals] = [
    await numberIn(page, 'grants'),
    await numberIn(page, 'held-now'),
    await numberIn(page, 'refusals'),
  ];
  assert.equal(refusals, 0, 'the service keeps none');
  const grant = await reserve({ resource: named('live'), requester: named('w') }, elsewhere);
  await send('POST', '/Reservation/reserve', [{ resource: named('live'), requester: named('other') }], elsewhere);
  await figure(page, 'grants', grants + 1);
  await figure(page, 'held-now', heldNow + 1);
  await figure(page, 'refusals', 1);
  await release(grant, elsewhere);
  await figure(page, 'held-now', heldNow);
  assert.equal(page.loads, 1);
  // The pictures are drawn, in colours of this page.
  const drawn = await page.locator('.plot canvas').evaluateAll((canvases) =>
    canvases.map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const colours = new Set();
      for (let at = 0; at < data.length; at += 4)
        if (data[at + 3] === 255) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
      return colours.has('15,118,110') || colours.has('52,87,177');
    }),
  );
  assert.deepEqual(drawn, [true, true, true, true, true]);
  return context;
}

async function longHoldsAreListed(browser) {
  const { context, page } = await open(browser, '#/charts');
  const longest = page.getByRole('region', { name: /^Held longest/ });
  await longest
    .getByRole('row')
    .nth(1)
    .filter({ hasText: named('endless') })
    .waitFor();
  const endless = page.getByRole('region', { name: /^Held without an end/ });
  await endless.getByText(named('endless')).waitFor();
  assert.equal(await endless.getByText(named('door')).count(), 0);
  assert.equal(await numberIn(page, 'endless-count'), (await held()).filter((row) => row.expiresAt === null).length);
  await endless.getByRole('link', { name: named('endless') }).click();
  await page.getByRole('heading', { level: 1, name: 'Reservations' }).waitFor();
  await rowOf(page, named('endless')).and(page.locator('[aria-selected="true"]')).waitFor();
  await page.goBack();
  await endless.getByRole('link', { name: 'All of them' }).click();
  await rowOf(page, named('endless')).waitFor();
  assert.equal(await rowOf(page, named('door')).count(), 0);
  return context;
}

async function chartsFillTheWidth(browser) {
  const { context, page } = await open(browser, '#/charts');
  const right = async (title) => {
    const { x, width } = await page.getByRole('figure', { name: title, exact: true }).boundingBox();
    return Math.round(x + width);
  };
  for (const width of [420, 1000, 1400, 2200]) {
    await page.setViewportSize({ width, height: 900 });
    const rights = [await right('Waiting'), await right('How long somebody waited')];
    const wide = await right('Grants, expiries and refusals a minute');
    assert.deepEqual(rights, [wide, wide], `at ${width} px`);
    assert.ok(wide <= width, `at ${width} px`);
  }
  return context;
}

async function tablesTellTheSame(browser) {
  const { context, page } = await open(browser, '#/charts');
  await isWhole(page);
  const chart = page.getByRole('figure', { name: 'Grants, expiries and refusals a minute' });
  await chart.locator('summary').focus();
  await page.keyboard.press('Enter');
  await chart.getByRole('columnheader', { name: 'expiries' }).waitFor();
  const columns = await chart
    .locator('tbody tr')
    .evaluateAll((trs) =>
      [0, 1].map((column) => trs.reduce((sum, tr) => sum + Number(tr.querySelectorAll('td')[column].textContent), 0)),
    );
  assert.deepEqual(columns, [await numberIn(page, 'grants'), await numberIn(page, 'expiries')]);
  return context;
}

async function aResetEndsAll(browser) {
  const { context, page } = await open(browser, '#/charts');
  await isWhole(page);
  await send('POST', '/Reservation/reset');
  await figure(page, 'held-now', 0);
  await page.getByText('Nothing is held.').waitFor();
  await page.reload();
  await isWhole(page);
  assert.equal(await lastOf(page, 'Held', 0), '0');
  // That it was held before is not forgotten with it.
  const most = await page.getByRole('figure', { name: 'Held', exact: true }).locator('figcaption').textContent();
  assert.match(most, /0 held now; at most \d+/);
  return context;
}
