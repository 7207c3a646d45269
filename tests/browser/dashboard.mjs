// The dashboard in a real Chromium, against a running server.
//
//   HOLDFAST_URL=http://127.0.0.1:8080 HOLDFAST_KEY=hf_live_... node tests/browser/dashboard.mjs
//
// The key needs the scopes read and write, and a tier with room for two event streams and ten reservations. Prints a line per
// check and stops at the first that fails, with exit code 1. Every wait is for a state, with a limit on patience.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { chromium } from 'playwright-core';
import { theBoardLetsTheGreaterFenceWin, theStreamParserReadsEveryLineEndAtEveryCut } from './parts.mjs';

const SERVER = needed('HOLDFAST_URL').replace(/\/$/, '');
const KEY = needed('HOLDFAST_KEY');
const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
const PATIENCE_MS = 10_000;
// What the page promises for a change made elsewhere. Where other work keeps the machine busy, AT_ONCE_MS in the environment allows more.
const AT_ONCE_MS = Number(process.env.AT_ONCE_MS ?? 1_000);
const RECONNECT_MS = 20_000; // the server may ask for 5 s, and a place on the stream may take a few to come free
const LONG_S = 3_600;


const run = randomUUID().slice(0, 8); // names of this run alone, so that a tenant may be used again
const named = (name) => `${name}-${run}`;
const HOSTILE = `<img src=x onerror=alert(1)> ${run}`;

const CHECKS = [
  ['the page forbids inline scripts and styles', thePageForbidsInlineScriptsAndStyles],
  ['a wrong key shows the error and no table', aWrongKeyShowsTheErrorAndNoTable],
  ['the right key shows what is held', theRightKeyShowsWhatIsHeld],
  ['the key is kept nowhere unless asked', theKeyIsKeptNowhereUnlessAsked],
  ['a reservation appears by itself within a second', aReservationAppears],
  ['a renewal moves its countdown', aRenewalMovesItsCountdown],
  ['a release removes it', aReleaseRemovesIt],
  ['what lapses disappears by itself', whatLapsesDisappears],
  ['markup in a name is shown as text', markupInANameIsShownAsText],
  ['a transaction shows all its changes', aTransactionShowsAllItsChanges],
  ['a refusal is told in the log alone', aRefusalIsToldInTheLogAlone],
  ['the log lists the events', theLogListsTheEvents],
  ['the filter narrows table and log', theFilterNarrowsTableAndLog],
  ['it catches up after an outage', itCatchesUpAfterAnOutage],
  ['it never reloaded', itNeverReloaded],
  ['the stream parser reads every line end at every cut', ({ page }) => theStreamParserReadsEveryLineEndAtEveryCut(page)],
  ['the board lets the greater fence win', ({ page }) => theBoardLetsTheGreaterFenceWin(page)],
  ['a key kept in the tab survives a reload, and a disconnect forgets it', aKeptKeySurvivesAReload],
  ['/docs lists reserve', theDocumentationListsReserve],
];

/** Holds of this run by resource, with what is needed to give them back. */
const holds = new Map();

// --- the checks -----------------------------------------------------------------------------------------------------------

async function thePageForbidsInlineScriptsAndStyles({ page }) {
  const answer = await page.goto(`${SERVER}/`);
  assert.equal(answer.status(), 200);
  const policy = answer.headers()['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self'(;|$)/);
  assert.match(policy, /style-src 'self'(;|$)/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval/);
}

async function aWrongKeyShowsTheErrorAndNoTable({ page, console }) {
  await console.expecting(/status of 401/, async () => {
    await signIn(page, 'hf_live_this_is_not_a_key');
    await page.locator('#sign-in-error').waitFor();
    await page.locator('#connection[data-state="refused"]').waitFor();
  });
  assert.notEqual((await page.locator('#sign-in-error').textContent()).trim(), '');
  assert.equal(await page.locator('#reservations').isVisible(), false);
}

async function theRightKeyShowsWhatIsHeld({ page }) {
  const forEver = named('before for ever');
  const forAnHour = named('before for an hour');
  await reserve({ resource: forEver, requester: named('early'), note: 'ask Ada first' });
  await reserve({ resource: forAnHour, requester: named('early'), ttlSeconds: LONG_S });

  await signIn(page, KEY);
  await becomesLive(page, PATIENCE_MS);
  await rowOf(page, forEver).waitFor();
  const row = await rowOf(page, forEver).innerText();
  assert.match(row, /ask Ada first/);
  assert.match(row, /no expiry/);
  assert.match(await rowOf(page, forAnHour).innerText(), /\b59 m \d\d s|\b1 h 00 m/);
  assert.equal(await page.locator('#sign-in').isVisible(), false);
}

async function theKeyIsKeptNowhereUnlessAsked({ page }) {
  const places = await page.evaluate(() => [
    location.href, document.cookie, JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.documentElement.outerHTML,
    document.getElementById('key').value, ...performance.getEntriesByType('resource').map((entry) => entry.name),
  ]);
  assert.equal(places.some((place) => place.includes(KEY)), false, 'the key is in the page, its storage or an address');
}

async function aReservationAppears({ page }) {
  const resource = named('live');
  await reserve({ resource, requester: named('worker'), ttlSeconds: LONG_S });
  await rowOf(page, resource).waitFor({ timeout: AT_ONCE_MS });
  const row = await rowOf(page, resource).innerText();
  assert.match(row, new RegExp(named('worker')));
  assert.match(row, new RegExp(String(holds.get(resource).fencingToken)));
}

async function aRenewalMovesItsCountdown({ page }) {
  const resource = named('live');
  await call('renew', [{ ...heldBy(resource), ttlSeconds: 48 * LONG_S }]);
  await rowOf(page, resource).filter({ hasText: /1 d 23 h|2 d 0 h/ }).waitFor({ timeout: AT_ONCE_MS });
}

async function aReleaseRemovesIt({ page }) {
  const resource = named('live');
  await release(resource);
  await rowOf(page, resource).waitFor({ state: 'detached', timeout: AT_ONCE_MS });
}

async function whatLapsesDisappears({ page }) {
  const resource = named('short');
  await reserve({ resource, requester: named('worker'), ttlSeconds: 1 });
  await rowOf(page, resource).waitFor({ timeout: AT_ONCE_MS });
  await rowOf(page, resource).waitFor({ state: 'detached', timeout: PATIENCE_MS });
  holds.delete(resource);
}

async function markupInANameIsShownAsText({ page }) {
  await reserve({ resource: HOSTILE, requester: HOSTILE, note: HOSTILE });
  await rowOf(page, HOSTILE).waitFor({ timeout: AT_ONCE_MS });
  await eventOf(page, 'RESERVED', HOSTILE).waitFor({ timeout: AT_ONCE_MS });
  assert.equal(await page.locator('main img').count(), 0, 'a name became an element');
}

async function aTransactionShowsAllItsChanges({ page }) {
  const resources = [named('both-left'), named('both-right')];
  const requests = resources.map((resource) => ({ resource, requester: named('pair') }));
  const [transaction] = await call('transactions', [{ method: 'ALL_OR_NONE', requestType: 'RESERVE', requests }]);
  assert.equal(transaction.status, 'APPLIED');
  for (const grant of transaction.results) holds.set(grant.resource, grant);
  for (const resource of resources) await rowOf(page, resource).waitFor({ timeout: AT_ONCE_MS });
  await eventOf(page, 'TRANSACTION_APPLIED', resources[0]).waitFor({ timeout: AT_ONCE_MS });
}

async function aRefusalIsToldInTheLogAlone({ page }) {
  const resource = named('both-left');
  const [answer] = await call('reserve', [{ resource, requester: named('late') }]);
  assert.equal(answer.status, 'ALREADY_HELD');
  await eventOf(page, 'RESERVE_FAILED', resource).waitFor({ timeout: AT_ONCE_MS });
  assert.match(await rowOf(page, resource).innerText(), new RegExp(named('pair')));
}

async function theLogListsTheEvents({ page }) {
  for (const [type, name] of [['RESERVED', 'live'], ['RENEWED', 'live'], ['UNRESERVED', 'live'], ['RESERVED', 'short'], ['RESERVATION_EXPIRED', 'short'], ['UNRESERVED', 'short']]) {
    assert.equal(await eventOf(page, type, named(name)).count(), 1, `${type} of ${name} should be listed once`);
  }
  const first = page.locator('#events li').first();
  assert.equal(await first.getAttribute('data-type'), 'RESERVE_FAILED', 'the newest should be on top');
}

async function theFilterNarrowsTableAndLog({ page }) {
  const [kept, other] = [named('both-left'), HOSTILE];
  await page.locator('#filter').fill(kept.toUpperCase());
  await rowOf(page, other).waitFor({ state: 'detached' });
  await eventOf(page, 'RESERVED', other).waitFor({ state: 'detached' });
  assert.equal(await rowOf(page, kept).count(), 1);

  await page.locator('#filter').fill(named('pair')); // a requester
  await rowOf(page, named('both-right')).waitFor();
  await page.locator('#filter').fill(`nobody ${run}`);
  await page.locator('#reservations-unmatched').waitFor();
  await page.locator('#filter').fill('');
  await rowOf(page, other).waitFor();
}

async function itCatchesUpAfterAnOutage({ page, context, console }) {
  const [gone, arrived] = [named('both-right'), named('while away')];
  console.tolerate(/net::ERR_INTERNET_DISCONNECTED/); // a try made meanwhile
  await context.setOffline(true);
  await page.locator('#connection[data-state="reconnecting"]').waitFor();
  await release(gone);
  await reserve({ resource: arrived, requester: named('worker') });
  assert.equal(await rowOf(page, gone).count(), 1, 'the page cannot know yet');
  await context.setOffline(false);
  await becomesLive(page, RECONNECT_MS);
  await rowOf(page, arrived).waitFor({ timeout: AT_ONCE_MS });
  await rowOf(page, gone).waitFor({ state: 'detached', timeout: AT_ONCE_MS });
  assert.equal(await eventOf(page, 'RESERVED', arrived).count(), 1, 'what was missed is told once');
  assert.equal(await eventOf(page, 'UNRESERVED', gone).count(), 1, 'what was missed is told once');
}

async function itNeverReloaded({ loads }) {
  assert.equal(loads(), 1);
}

async function aKeptKeySurvivesAReload({ page }) {
  await page.locator('#disconnect').click();
  await page.locator('#sign-in').waitFor();
  await page.locator('#keep').check();
  await signIn(page, KEY);
  await becomesLive(page, RECONNECT_MS);
  await page.reload();
  await becomesLive(page, RECONNECT_MS);
  await rowOf(page, named('while away')).waitFor();

  await page.locator('#disconnect').click();
  await page.locator('#sign-in').waitFor();
  await page.reload();
  await page.locator('#sign-in').waitFor();
}

async function theDocumentationListsReserve({ page }) {
  const answer = await page.goto(`${SERVER}/docs`);
  assert.equal(answer.status(), 200);
  await page.locator('.opblock-post', { has: page.locator('[data-path$="/Reservation/reserve"]') }).first().waitFor();
}

// --- the page -------------------------------------------------------------------------------------------------------------

async function signIn(page, key) {
  await page.locator('#key').fill(key);
  await page.locator('#connect').click();
}

async function becomesLive(page, timeout) {
  await page.locator('#connection[data-state="live"]').waitFor({ timeout });
}

function rowOf(page, resource) {
  return page.locator('#reservations tbody tr', { has: page.locator('th').getByText(resource, { exact: true }) });
}

function eventOf(page, type, text) {
  return page.locator(`#events li[data-type="${type}"]`).filter({ hasText: text });
}

/** What Chromium's console and the policy reported. Anything but what a check expects fails the run. */
function watchConsole(page) {
  const complaints = [];
  const tolerated = [];
  const hear = (text) => tolerated.some((pattern) => pattern.test(text)) || complaints.push(text);
  page.on('console', (message) => message.type() === 'error' && hear(message.text()));
  page.on('pageerror', (error) => hear(String(error)));
  page.on('dialog', (dialog) => {
    hear(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return {
    complaints,
    hear,
    /** From now on, such a message is no complaint. */
    tolerate(pattern) {
      tolerated.push(pattern);
    },
    /** One such message is due by `during`; it is waited for, since the console may lag behind the page. */
    async expecting(pattern, during) {
      tolerated.push(pattern);
      const said = page.waitForEvent('console', (message) => pattern.test(message.text()));
      await Promise.all([said, during()]);
      tolerated.pop();
    },
  };
}

// --- the server -----------------------------------------------------------------------------------------------------------

async function call(what, body) {
  const response = await fetch(`${SERVER}/api/v1/Reservation/${what}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Api-Key': KEY },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const text = await response.text();
  assert.equal(response.status, 200, `${what} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

async function reserve(item) {
  const [grant] = await call('reserve', [item]);
  assert.equal(grant.status, 'ACQUIRED', JSON.stringify(grant));
  holds.set(item.resource, grant);
}

function heldBy(resource) {
  const { requester, releaseToken } = holds.get(resource);
  return { resource, requester, releaseToken };
}

async function release(resource) {
  const [answer] = await call('unreserve', [heldBy(resource)]);
  assert.equal(answer.status, 'RELINQUISHED', JSON.stringify(answer));
  holds.delete(resource);
}

function needed(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`${name} is not set: the address of a running server, and an API key of it, are needed`);
    process.exit(2);
  }
  return value;
}

// --- the run --------------------------------------------------------------------------------------------------------------

async function main() {
  const browser = await chromium.launch({ executablePath: BROWSER, args: FLAGS });
  let current = 'start';
  try {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    const heard = watchConsole(page);
    let loadCount = 0;
    page.on('load', () => (loadCount += 1));
    await page.exposeFunction('policyViolated', (what) => heard.hear(what));
    await page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (violation) => {
        window.policyViolated(`the policy forbids ${violation.blockedURI} by ${violation.effectiveDirective}`);
      });
    });
    for (const [name, check] of CHECKS) {
      current = name;
      await check({ page, context, console: heard, loads: () => loadCount });
      assert.deepEqual(heard.complaints, [], 'the console and the policy have nothing to say');
      console.log(`ok: ${name}`);
    }
  } catch (fault) {
    console.error(`FAILED: ${current}\n${fault.message}`);
    process.exitCode = 1;
  } finally {
    await browser.close();
    await Promise.allSettled([...holds.keys()].map(release)); // the tenant is left as it was found
  }
}

await main();
