// The dashboard in a real Chromium against two replicas: signing in, every view and every action.

import assert from 'node:assert/strict';

import { answer, becomes, openTab, openWindow, rowOf, rows, show, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, named, release, REPLICAS, reserve, send } from './support/service.mjs';

const [HERE, ELSEWHERE] = REPLICAS;
const elsewhere = { replica: ELSEWHERE };
// What the page promises for a change made elsewhere is a second; other tests share the machine.
const AT_ONCE_MS = 5_000;
const LONG_S = 3_600;

await run([
  ['the page forbids inline code, inline styles and other hosts', thePolicyIsStrict],
  ['a wrong key is told in words for people, and shows nothing', aWrongKeyIsTold],
  ['the guide and the API are a link away, signed in or not', theRestIsALinkAway],
  ['signing in lasts over reloads and new tabs, and keeps no secret', signingInLasts],
  ['a link signs in, also in a tab that shows the page already, and its key is kept nowhere', aLinkSignsIn],
  ['signing out ends it in every tab', signingOutEndsIt],
  ['what happens elsewhere is seen without a reload', whatHappensElsewhereIsSeen],
  ['markup in a name is shown as text', markupIsText],
  ['search, sort and filter stand in the address', theViewIsInTheAddress],
  ['a drawer tells the history, who waits, and who was refused', aDrawerTellsAll],
  ['a reservation, and all of a holder, are released by force with a reason', releasesByForce],
  ['everything is released behind a typed confirmation', resetIsTyped],
  ['who waits is seen with place and times, and can be cancelled', waitingIsSeen],
  ['pools, trees and blockers are seen, registered, changed and forgotten', resourcesAreManaged],
  ['a file is planned before it is registered', aFileIsPlanned],
  ['events are live, pause, are filtered, and reach back', eventsAreLive],
  ['an action is offered where the scope allows it', actionsFollowScopes],
  ['the keyboard reaches everything', theKeyboardReachesEverything],
  ['on a phone the link of the view is in sight', theViewIsNamedOnAPhone],
]);

async function open(browser, path = '', { key = KEY, ...options } = {}) {
  const context = await openWindow(browser, options);
  const page = await openTab(context, `${HERE}/${path}`);
  await signIn(page, key);
  await becomes(page, 'live');
  return { context, page };
}

async function thePolicyIsStrict(browser) {
  const context = await openWindow(browser);
  const page = await context.newPage();
  const answered = await page.goto(`${HERE}/`);
  assert.equal(answered.status(), 200);
  const policy = answered.headers()['content-security-policy'] ?? '';
  for (const part of [/default-src 'none'/, /script-src 'self'(;|$)/, /style-src 'self'(;|$)/, /require-trusted-types-for 'script'/]) assert.match(policy, part);
  assert.doesNotMatch(policy, /unsafe-|https?:/);
  const foreign = await page.evaluate(() => performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host).filter((host) => host !== location.host));
  assert.deepEqual(foreign, []);
  return context;
}

async function aWrongKeyIsTold(browser) {
  const context = await openWindow(browser);
  const page = await openTab(context, `${HERE}/`);
  await signIn(page, 'hf_live_this_is_not_a_key');
  const told = await page.getByRole('alert').filter({ hasText: /\w/ }).textContent();
  assert.match(told, /key is not known/);
  assert.doesNotMatch(told, /header|X-Api-Key|Bearer/);
  assert.equal(await page.getByRole('grid').count(), 0);
  assert.equal(await page.locator('#key').evaluate((field) => field === document.activeElement), true, 'the key can be typed again at once');
  return context;
}

async function theRestIsALinkAway(browser) {
  const context = await openWindow(browser);
  const page = await openTab(context, `${HERE}/`);
  await page.locator('#key').waitFor();
  const leads = async (part) => {
    for (const [name, path] of [['Guide', '/guide/'], ['API', '/docs']]) {
      assert.equal(await page.locator(part).getByRole('link', { name, exact: true }).getAttribute('href'), path);
    }
  };
  await leads('.sign-in');
  await signIn(page, KEY);
  await becomes(page, 'live');
  await leads('header');
  return context;
}

async function signingInLasts(browser) {
  const { context, page } = await open(browser);
  const places = await page.evaluate(() => [
    location.href, document.cookie, JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.documentElement.outerHTML,
    ...[...document.querySelectorAll('input')].map((field) => field.value), ...performance.getEntriesByType('resource').map((entry) => entry.name),
  ]);
  assert.equal(places.some((place) => place.includes(KEY)), false, 'the key is in the page, its storage or an address');
  await page.reload();
  await becomes(page, 'live');
  const second = await openTab(context, `${HERE}/`);
  await becomes(second, 'live');
  return context;
}

async function aLinkSignsIn(browser) {
  const reader = await send('POST', '/keys', { label: named('linked'), scopes: ['read'] });
  const context = await openWindow(browser);
  const page = await openTab(context, `${HERE}/`);
  await page.locator('#key').waitFor();
  // The rest of the address stays, so the browser loads nothing.
  const follow = (key) => page.goto(`${HERE}/#/sign-in?key=${key}`);
  await follow(KEY);
  await becomes(page, 'live');
  await show(page, 'Events');
  // Another key takes the place of the one that is signed in.
  await follow(reader.apiKey);
  await page.locator('.who[title="read"]').waitFor();
  await page.getByRole('heading', { level: 1, name: 'Reservations' }).waitFor();
  await becomes(page, 'live');
  await follow('hf_live_this_is_not_a_key');
  await page.getByRole('alert').filter({ hasText: 'key is not known' }).waitFor();
  assert.equal(await page.locator('#key').count(), 1, 'signed out');
  assert.equal(page.loads, 1);
  const addresses = await page.evaluate(() => [location.href, ...navigation.entries().map((entry) => entry.url)]);
  assert.deepEqual(addresses.filter((address) => /hf_live|sign-in/.test(address)), [], 'the key is in the history');

  const fresh = await openTab(context, `${HERE}/#/sign-in?key=${KEY}`);
  await becomes(fresh, 'live');
  assert.doesNotMatch(fresh.url(), /hf_live/);
  await send('DELETE', `/keys/${reader.id}`);
  return context;
}

async function signingOutEndsIt(browser) {
  const { context, page } = await open(browser);
  const second = await openTab(context, `${HERE}/`);
  await becomes(second, 'live');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.locator('#key').waitFor();
  await second.locator('#key').waitFor();
  await page.reload();
  await page.locator('#key').waitFor();
  return context;
}

async function whatHappensElsewhereIsSeen(browser) {
  const { context, page } = await open(browser);
  const second = await openTab(context, `${HERE}/`);
  await becomes(second, 'live');
  const [name, requester] = [named('live'), named('worker')];
  const grant = await reserve({ resource: name, requester, ttlSeconds: LONG_S, note: 'ask Ada first' }, elsewhere);
  for (const tab of [page, second]) {
    await rowOf(tab, name).waitFor({ timeout: AT_ONCE_MS });
    const text = await rowOf(tab, name).innerText();
    for (const part of [requester, 'ask Ada first', String(grant.fencingToken)]) assert.ok(text.includes(part), text);
    assert.match(text, /\b59 m \d\d s|\b1 h 00 m/);
  }

  await send('POST', '/Reservation/renew', [{ resource: name, requester, releaseToken: grant.releaseToken, ttlSeconds: 48 * LONG_S }], elsewhere);
  for (const tab of [page, second]) await rowOf(tab, name).filter({ hasText: /1 d 23 h|2 d 0 h/ }).waitFor({ timeout: AT_ONCE_MS });
  await release(grant, elsewhere);
  for (const tab of [page, second]) await rowOf(tab, name).waitFor({ state: 'detached', timeout: AT_ONCE_MS });

  const short = named('short');
  await reserve({ resource: short, requester, ttlSeconds: 5 }, elsewhere);
  await rowOf(page, short).locator('time', { hasText: /^[1-5] s$/ }).waitFor({ timeout: AT_ONCE_MS });
  for (const tab of [page, second]) await rowOf(tab, short).waitFor({ state: 'detached' });

  // A transaction, of which each change is a row, with its note.
  const pair = [named('both-left'), named('both-right')];
  const [transaction] = await send('POST', '/Reservation/transactions', [
    { method: 'ALL_OR_NONE', requestType: 'RESERVE', requests: pair.map((resource) => ({ resource, requester, ttlSeconds: LONG_S })) },
  ], elsewhere);
  for (const tab of [page, second]) for (const resource of pair) await rowOf(tab, resource).waitFor({ timeout: AT_ONCE_MS });
  for (const result of transaction.results) await release(result, elsewhere);
  for (const tab of [page, second]) for (const resource of pair) await rowOf(tab, resource).waitFor({ state: 'detached', timeout: AT_ONCE_MS });
  assert.deepEqual([page.loads, second.loads], [1, 1], 'nothing was reloaded');
  return context;
}

async function markupIsText(browser) {
  const { context, page } = await open(browser);
  const hostile = `<img src=x onerror=alert(1)> ${named('x')}`;
  const images = await page.locator('img').count();
  const grant = await reserve({ resource: hostile, requester: hostile, note: hostile, ttlSeconds: LONG_S });
  await rowOf(page, hostile).click();
  await page.getByRole('complementary').getByRole('heading', { level: 2 }).filter({ hasText: hostile }).waitFor();
  await page.getByRole('complementary').getByText('reserved').first().waitFor();
  assert.equal(await page.locator('img').count(), images, 'a name became an element');
  await release(grant);
  return context;
}

async function theViewIsInTheAddress(browser) {
  const { context, page } = await open(browser);
  const [one, other] = [await reserve({ resource: named('alpha'), requester: named('ada'), ttlSeconds: LONG_S }), await reserve({ resource: named('beta'), requester: named('bob') })];
  await rowOf(page, one.resource).waitFor();
  await page.getByRole('searchbox').fill(named('AL').slice(0, 2) + one.resource.slice(2));
  await rowOf(page, other.resource).waitFor({ state: 'detached' });
  await page.getByRole('searchbox').fill(named('ada').split('-')[1]); // of this run: both
  await rowOf(page, other.resource).waitFor();
  await page.getByLabel('Ends').selectOption('never');
  await rowOf(page, one.resource).waitFor({ state: 'detached' });
  await page.getByRole('columnheader', { name: 'Resource' }).getByRole('button').click();
  const shared = page.url();
  assert.match(shared, /end=never/);
  assert.match(shared, /sort=resource/);

  const second = await openTab(context, shared);
  await becomes(second, 'live');
  await rowOf(second, other.resource).waitFor();
  assert.equal(await rowOf(second, one.resource).count(), 0);
  await second.getByLabel('Ends').selectOption('');
  await rowOf(second, one.resource).waitFor();
  const order = await second.locator('.body [role="rowheader"]').allInnerTexts();
  assert.deepEqual(order, [...order].sort(), 'sorted by name');
  await second.getByRole('columnheader', { name: 'Resource' }).getByRole('button').click();
  await second.locator('[aria-sort="descending"]').waitFor();
  await release(one);
  await release(other);
  return context;
}

async function aDrawerTellsAll(browser) {
  const resource = named('contended');
  const first = await reserve({ resource, requester: named('first'), ttlSeconds: LONG_S });
  await release(first);
  const held = await reserve({ resource, requester: named('second'), ttlSeconds: LONG_S, note: 'until noon' });
  const { context, page } = await open(browser, `#/reservations?row=${encodeURIComponent(resource)}`);
  const drawer = page.getByRole('complementary');
  await drawer.getByRole('link', { name: named('second') }).waitFor();
  const history = drawer.getByRole('region', { name: 'History' });
  await history.getByRole('listitem').filter({ hasText: named('first') }).filter({ hasText: 'released' }).waitFor();
  assert.equal(await history.getByRole('listitem').count(), 3, 'reserved, released, reserved');

  await send('POST', '/Reservation/reserve', [{ resource, requester: named('refused') }], elsewhere);
  await drawer.getByRole('region', { name: 'Refusals' }).getByRole('listitem').filter({ hasText: named('refused') }).filter({ hasText: 'is held by' }).waitFor();
  const [wish] = await send('POST', '/Reservation/reserve', [{ resource, requester: named('patient'), waitSeconds: 600, keepAliveSeconds: 600 }], elsewhere);
  await drawer.getByRole('region', { name: 'Waiting' }).getByRole('listitem').filter({ hasText: named('patient') }).waitFor();
  await send('DELETE', `/Reservation/tickets/${wish.ticket}`);
  await drawer.getByText('Nobody waits for it.').waitFor();
  await release(held);
  await drawer.getByText('Free now').waitFor();
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'detached' });
  return context;
}

async function releasesByForce(browser) {
  const requester = named('stuck');
  const names = ['one', 'two', 'three'].map((name) => named(`stuck-${name}`));
  for (const resource of names) await reserve({ resource, requester });
  const { context, page } = await open(browser);
  await rowOf(page, names[0]).click();
  await page.getByRole('button', { name: 'Release by force…' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Release by force' }).click();
  assert.equal(await page.getByRole('dialog').count(), 1, 'a reason is needed');
  await answer(page, 'Release by force', { Reason: 'stuck since Monday' });
  await rowOf(page, names[0]).waitFor({ state: 'detached' });
  await page.getByRole('status').filter({ hasText: `Released ${names[0]}` }).waitFor();

  await rowOf(page, names[1]).click();
  await page.getByRole('button', { name: 'Release all 2 of this holder…' }).click();
  const action = page.getByRole('dialog').getByRole('button', { name: 'Release 2' });
  await page.getByRole('dialog').getByLabel('Reason').fill('its machine is gone');
  assert.equal(await action.isDisabled(), true, 'before the name is typed');
  await answer(page, 'Release 2', { [`Type ${requester} to confirm`]: requester });
  for (const name of names) await rowOf(page, name).waitFor({ state: 'detached' });

  await show(page, 'Events');
  const forced = rows(page, names[0]).filter({ hasText: 'released by force' });
  await forced.waitFor();
  assert.match(await forced.innerText(), /stuck since Monday · by default/);
  return context;
}

async function resetIsTyped(browser) {
  const { context, page } = await open(browser);
  const resource = named('before the reset');
  await reserve({ resource, requester: named('w') }, elsewhere);
  await rowOf(page, resource).waitFor();
  await page.getByRole('button', { name: 'Release everything…' }).click();
  const action = page.getByRole('dialog').getByRole('button', { name: 'Release everything' });
  assert.equal(await action.isDisabled(), true);
  await page.getByLabel('Type test to confirm').fill('tes');
  assert.equal(await action.isDisabled(), true);
  await page.getByLabel('Type test to confirm').fill('test');
  await action.click();
  await page.getByText('Nothing is reserved.').waitFor();
  const list = await send('GET', '/Reservation/activeReservations');
  assert.deepEqual(list.reservations, []);
  return context;
}

async function waitingIsSeen(browser) {
  const { context, page } = await open(browser, '#/waiting');
  await page.getByText('Nobody waits.').waitFor();
  const resource = named('press');
  const held = await reserve({ resource, requester: named('holder'), ttlSeconds: 600 });
  const wait = (name, more) => send('POST', '/Reservation/reserve', [
    { resource, requester: named(name), ttlSeconds: 60, waitSeconds: 900, keepAliveSeconds: 900, ...more },
  ], elsewhere);
  await wait('slow');
  await wait('hurried', { priority: 5, note: 'hotfix' });
  const hurried = rows(page, named('hurried'));
  await hurried.filter({ hasText: 'next' }).filter({ hasText: 'hotfix' }).waitFor();
  await hurried.locator('[data-column="priority"]', { hasText: /^5$/ }).waitFor();
  await hurried.locator('[data-column="expected"]', { hasText: /^(9|10) m \d\d s$/ }).waitFor(); // when the holder's time is up
  await rows(page, named('slow')).locator('[data-column="place"]', { hasText: /^2$/ }).waitFor();

  await hurried.click();
  await page.getByRole('button', { name: 'Cancel this wait…' }).click();
  await answer(page, 'Cancel the wait');
  await hurried.waitFor({ state: 'detached' });
  await rows(page, named('slow')).filter({ hasText: 'next' }).waitFor();
  await page.keyboard.press('Escape');
  await release(held);
  await page.getByText('Nobody waits.').waitFor();
  await send('POST', '/Reservation/forceRelease', { resource, reason: 'the check is over' });
  return context;
}

async function resourcesAreManaged(browser) {
  const { context, page } = await open(browser, '#/resources');
  await page.getByText('Nothing is registered.').waitFor();
  const [pool, root, leaf, light] = ['gpu', 'plant', 'robot', 'light'].map(named);
  await page.getByRole('button', { name: 'Register…' }).click();
  await answer(page, 'Register', { Name: pool, Capacity: '0' });
  await page.getByRole('dialog').getByRole('alert').filter({ hasText: 'capacity' }).waitFor();
  await answer(page, 'Register', { Capacity: '4' });
  await rowOf(page, pool).filter({ hasText: '0 of 4' }).waitFor();
  await page.getByRole('button', { name: 'Register…' }).click();
  await answer(page, 'Register', { Name: leaf, 'Stands under': root, 'Takes with it': light });
  await rowOf(page, leaf).filter({ hasText: light }).waitFor();

  const slot = await reserve({ resource: pool, requester: named('trainer'), quantity: 2, ttlSeconds: LONG_S }, elsewhere);
  await rowOf(page, pool).filter({ hasText: '2 of 4' }).filter({ hasText: named('trainer') }).waitFor({ timeout: AT_ONCE_MS });
  const robot = await reserve({ resource: leaf, requester: named('operator'), ttlSeconds: LONG_S }, elsewhere);
  await rowOf(page, leaf).filter({ hasText: 'held' }).filter({ hasText: named('operator') }).waitFor({ timeout: AT_ONCE_MS });
  await rowOf(page, root).filter({ hasText: 'held below' }).waitFor();
  await page.getByLabel('Show').selectOption('free');
  await rowOf(page, leaf).waitFor({ state: 'detached' });
  await page.getByLabel('Show').selectOption('');

  await rowOf(page, pool).click();
  const drawer = page.getByRole('complementary');
  await drawer.getByRole('link', { name: `${pool}_0, held by ${named('trainer')}` }).waitFor();
  assert.equal(await drawer.getByRole('img', { name: /, free$/ }).count(), 2);
  await drawer.getByRole('button', { name: 'Forget…' }).click();
  await answer(page, 'Forget', { [`Type ${pool} to confirm`]: pool });
  await page.getByRole('dialog').getByRole('alert').waitFor(); // it is held
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
  await release({ ...slot, resource: pool });
  await rowOf(page, pool).filter({ hasText: '0 of 4' }).waitFor({ timeout: AT_ONCE_MS });

  await drawer.getByRole('button', { name: 'Edit…' }).click();
  await answer(page, 'Change', { Capacity: '6' });
  await rowOf(page, pool).filter({ hasText: '0 of 6' }).waitFor();
  await drawer.getByRole('button', { name: 'Forget…' }).click();
  await answer(page, 'Forget', { [`Type ${pool} to confirm`]: pool });
  await rowOf(page, pool).waitFor({ state: 'detached' });
  await release(robot);
  return context;
}

async function aFileIsPlanned(browser) {
  const present = named('staging');
  await send('POST', '/Resource/register', [{ name: present, capacity: 2 }]);
  const { context, page } = await open(browser, '#/resources');
  await rowOf(page, present).waitFor();
  await page.getByRole('button', { name: 'Plan a file…' }).click();
  const dialog = page.getByRole('dialog');
  const text = dialog.getByLabel('Definitions, as TOML or JSON');
  await text.fill(`[[resource]]\nname = "${present}"\ncapcity = 3`);
  await dialog.getByRole('alert').filter({ hasText: 'no field "capcity"' }).waitFor();
  await text.fill(`[[resource]]\nname = "${present}"\ncapacity = 3\n[[resource]]\nname = "${named('fresh')}"`);
  await dialog.getByText('1 to create, 1 to change, 0 unchanged').waitFor();
  await dialog.getByText('capacity 2 → 3').waitFor();
  const registered = await send('GET', `/Resource/${present}`);
  assert.equal(registered.capacity, 2, 'a plan changes nothing');
  await dialog.getByRole('button', { name: 'Register 2' }).click();
  await rowOf(page, named('fresh')).waitFor();
  assert.equal((await send('GET', `/Resource/${present}`)).capacity, 3);
  return context;
}

async function eventsAreLive(browser) {
  const [before, resource, who] = [named('before'), named('seen'), named('worker')];
  await release(await reserve({ resource: before, requester: who }));
  const { context, page } = await open(browser, '#/events');
  await rows(page, before).filter({ hasText: 'released' }).waitFor(); // from the history
  const grant = await reserve({ resource, requester: who, ttlSeconds: 1 }, elsewhere);
  await rows(page, resource).filter({ hasText: 'reserved' }).waitFor({ timeout: AT_ONCE_MS });
  await rows(page, resource).filter({ hasText: 'expired' }).waitFor();
  assert.equal(await rows(page, resource).count(), 2, 'an expiry is told once');
  assert.match(await rows(page).first().innerText(), /expired/, 'the newest is on top');

  await page.getByRole('button', { name: 'Pause' }).click();
  const later = await reserve({ resource: named('later'), requester: who }, elsewhere);
  await page.getByRole('button', { name: 'Go on (1 new)' }).waitFor();
  assert.equal(await rows(page, named('later')).count(), 0);
  await page.getByRole('button', { name: 'Go on (1 new)' }).click();
  await rows(page, named('later')).waitFor();

  await send('POST', '/Reservation/reserve', [{ resource: named('later'), requester: named('late') }]);
  await page.getByLabel('Show').selectOption('refusals');
  await rows(page, named('late')).filter({ hasText: 'refused' }).waitFor();
  assert.equal(await rows(page, resource).count(), 0);
  await page.getByLabel('Show').selectOption('');
  await page.getByRole('searchbox').fill(resource);
  await rows(page, named('later')).first().waitFor({ state: 'detached' });
  await rows(page, resource).first().click();
  await page.getByRole('complementary').getByLabel('The event as JSON').filter({ hasText: String(grant.fencingToken) }).waitFor();
  await release(later);
  return context;
}

async function actionsFollowScopes(browser) {
  const reader = await send('POST', '/keys', { label: named('reader'), scopes: ['read'] });
  const held = await reserve({ resource: named('looked at'), requester: named('w'), ttlSeconds: LONG_S });
  const { context, page } = await open(browser, '', { key: reader.apiKey });
  await rowOf(page, held.resource).click();
  await page.getByRole('complementary').getByText('Held since').waitFor();
  assert.equal(await page.getByRole('button', { name: /Release|force/ }).count(), 0);
  await show(page, 'Resources');
  assert.equal(await page.getByRole('button', { name: 'Register…' }).count(), 0);
  await release(held);
  // A key that is revoked signs its sessions out.
  await send('DELETE', `/keys/${reader.id}`);
  await page.locator('#key').waitFor();
  await page.getByRole('alert').filter({ hasText: 'You were signed out' }).waitFor();
  return context;
}

async function theKeyboardReachesEverything(browser) {
  const { context, page } = await open(browser);
  const grants = [];
  for (let n = 0; n < 3; n++) grants.push(await reserve({ resource: named(`key-${n}`), requester: named('w') }));
  await rowOf(page, grants[2].resource).waitFor();
  await page.keyboard.press('t');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('j');
  const active = page.locator('[data-active="true"]');
  await active.filter({ hasText: grants[1].resource }).waitFor();
  const grid = page.getByRole('grid');
  assert.equal(await grid.getAttribute('aria-activedescendant'), await active.getAttribute('id'));
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('complementary');
  await drawer.getByRole('heading', { name: grants[1].resource }).waitFor();
  assert.equal(await drawer.evaluate((panel) => panel.contains(document.activeElement)), true, 'the drawer has the focus');
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'detached' });
  assert.equal(await grid.evaluate((element) => element === document.activeElement), true, 'and gives it back');

  await page.keyboard.press('/');
  await page.keyboard.type(grants[0].resource);
  await rowOf(page, grants[2].resource).waitFor({ state: 'detached' });
  await page.getByRole('searchbox').fill('');
  await page.getByRole('searchbox').blur();
  for (const [key, title] of [['w', 'Waiting'], ['s', 'Resources'], ['e', 'Events'], ['r', 'Reservations']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await page.getByRole('heading', { level: 1, name: title }).waitFor();
  }
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys' }).getByText('Go to Waiting').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });

  // Every control has a place in the order of Tab and a name.
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, select')]
    .filter((control) => control.tabIndex < 0 || !(control.getAttribute('aria-label') || control.textContent || control.labels?.length))
    .map((control) => control.outerHTML));
  assert.deepEqual(nameless, []);
  for (const grant of grants) await release(grant);
  return context;
}

async function theViewIsNamedOnAPhone(browser) {
  const { context, page } = await open(browser, '#/usage', { width: 420 });
  const isInSight = (title) => page.waitForFunction((name) => {
    const link = document.querySelector('nav[aria-label="Views"] [aria-current="page"]');
    const { left, right } = link?.getBoundingClientRect() ?? {};
    return link?.textContent === name && left >= 0 && right <= innerWidth;
  }, title);
  await isInSight('Usage'); // as a link led there
  await page.keyboard.press('g');
  await page.keyboard.press('c');
  await isInSight('Charts');
  await page.reload();
  await isInSight('Charts');
  await page.goBack();
  await isInSight('Usage');
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await isInSight('Reservations');
  return context;
}
