// The view of usage in a real Chromium: limits, API keys, and tenants with the service's admin key.

import assert from 'node:assert/strict';

import { answer, becomes, openTab, openWindow, rowOf, rows, show, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, named, release, REPLICAS, reserve, send } from './support/service.mjs';

const [HERE] = REPLICAS;
const ADMIN_KEY = process.env.HOLDFAST_ADMIN_KEY;
const USAGE_MS = 30_000; // what is used is read every ten seconds

await run([
  ['each limit is seen, and how near it is', limitsAreSeen],
  ['a limit that is near is said to be', aNearLimitIsSaid],
  ['a key is made, shown once, copied, and works', aKeyIsMade],
  ['a key is rotated and revoked', aKeyIsRotatedAndRevoked],
  ['what the service refuses is told in words for people', refusalsAreTold],
  ['revoking the key of the session signs out', revokingOnesOwnKey],
  ['a key that only reads is offered limits alone', aReaderSeesLimits],
  ['tenants take the admin key at each action, and nothing keeps it', tenantsTakeTheAdminKey],
  ['the keyboard reaches everything', theKeyboardReachesEverything],
]);

async function open(browser, path, { key = KEY, ...options } = {}) {
  const context = await openWindow(browser, options);
  const page = await openTab(context, `${HERE}/${path}`);
  await signIn(page, key);
  await becomes(page, 'live');
  return { context, page };
}

function drawer(page) {
  return page.getByRole('complementary');
}

function limit(page, type) {
  return page.locator(`.limit[data-limit="${type}"]`);
}

async function administer(method, path, body) {
  const response = await fetch(`${HERE}/api/v1/admin/tenants${path}`, {
    method,
    headers: { 'X-Admin-Key': ADMIN_KEY, 'Content-Type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.status === 204 ? undefined : response.json();
}

/** The network's own word for a refusal that a check asked for. */
function forgiving(context, pattern) {
  context.complaints = context.complaints.filter((complaint) => !pattern.test(complaint));
  return context;
}

async function limitsAreSeen(browser) {
  const { context, page } = await open(browser, '#/reservations');
  await show(page, 'Usage');
  const { usage } = await send('GET', '/session');
  for (const { limitType, limit: most } of usage) {
    const words = await limit(page, limitType).textContent();
    const named = limitType === 'StoredBytes' ? / of [\d.]+ [KMGT]iB/ : most === null ? /without a limit/ : new RegExp(`of ${most.toLocaleString('en-GB')}`);
    assert.match(words, named, limitType);
  }
  const held = [];
  for (let n = 0; n < 3; n++) held.push(await reserve({ resource: named(`used-${n}`), requester: named('w') }));
  await limit(page, 'ConcurrentReservations')
    .getByText(/^3 of /)
    .first()
    .waitFor({ timeout: USAGE_MS });
  const meter = limit(page, 'ConcurrentReservations').getByRole('meter', { name: 'Reservations held at once' });
  assert.equal(await meter.evaluate((element) => element.value), 3);
  for (const grant of held) await release(grant);
  await limit(page, 'ConcurrentReservations')
    .getByText(/^0 of /)
    .first()
    .waitFor({ timeout: USAGE_MS });
  assert.equal(page.loads, 1);
  return context;
}

async function aNearLimitIsSaid(browser) {
  const tenant = await administer('POST', '', { name: named('small'), tier: 'Free' });
  const key = { key: tenant.apiKey };
  const most = (await send('GET', '/session', undefined, key)).usage.find(
    (usage) => usage.limitType === 'ConcurrentReservations',
  ).limit;
  const batch = Array.from({ length: most }, (_, n) => ({ resource: `r-${n}`, requester: 'w' }));
  await send('POST', '/Reservation/reserve', batch.slice(0, Math.ceil(most * 0.9)), key);
  const { context, page } = await open(browser, '#/usage', { key: tenant.apiKey });
  const reservations = limit(page, 'ConcurrentReservations');
  await reservations.getByText('90 %').waitFor({ timeout: USAGE_MS });
  await reservations.getByText('At the limit nothing more is reserved until something ends.').waitFor();
  await send('POST', '/Reservation/reserve', batch.slice(Math.ceil(most * 0.9)), key);
  await reservations.getByText('reached').waitFor({ timeout: USAGE_MS });
  // The one key of the tier is used up as well; the nearest stand first.
  const first = await page.locator('.limit').evaluateAll((cards) =>
    cards
      .slice(0, 2)
      .map((card) => card.dataset.limit)
      .sort(),
  );
  assert.deepEqual(first, ['ApiKeys', 'ConcurrentReservations']);
  await administer('DELETE', `/${tenant.tenantId}`);
  await page.locator('#key').waitFor({ timeout: USAGE_MS });
  return context;
}

async function secretOf(page, what) {
  const dialog = page.getByRole('dialog');
  const field = dialog.getByLabel(what, { exact: true });
  await field.waitFor();
  return field.inputValue();
}

/** Everything that a script, or who sits down at this browser next, could find. */
async function keptIn(page) {
  const own = await page.evaluate(() =>
    [
      document.documentElement.outerHTML,
      ...[...document.querySelectorAll('input')].map((input) => input.value),
      JSON.stringify(localStorage),
      JSON.stringify(sessionStorage),
      location.href,
      JSON.stringify(history.state),
    ].join('\n'),
  );
  return `${own}\n${JSON.stringify(await page.context().storageState())}`;
}

async function makeKey(page, label, scopes) {
  await page.getByRole('button', { name: 'New API key' }).click();
  const dialog = page.getByRole('dialog', { name: 'New API key' });
  await dialog.getByLabel('Label').fill(label);
  for (const scope of ['read', 'write', 'admin'])
    await dialog.getByLabel(new RegExp(`^${scope}:`)).setChecked(scopes.includes(scope));
  await dialog.getByRole('button', { name: 'Make the key' }).click();
  return secretOf(page, 'API key');
}

async function aKeyIsMade(browser) {
  const { context, page } = await open(browser, '#/usage?show=keys');
  const label = named('<i>builder</i>');
  const key = await makeKey(page, label, ['read']);
  assert.match(key, /^hf_live_/);
  const session = await send('GET', '/session', undefined, { key });
  assert.deepEqual(session.scopes, ['read']);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('dialog').getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('dialog').getByText('Copied.').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  const row = rowOf(page, label);
  await row.filter({ hasText: 'read' }).waitFor();
  assert.equal(await row.getByText('admin').count(), 0);
  assert.ok(!(await keptIn(page)).includes(key), 'the key is gone with its dialog');
  return context;
}

async function aKeyIsRotatedAndRevoked(browser) {
  const { context, page } = await open(browser, '#/usage?show=keys');
  const label = named('rotating');
  const first = await makeKey(page, label, ['read', 'write']);
  await page.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('searchbox').fill(label);
  await rowOf(page, label).click();
  await drawer(page).getByRole('button', { name: 'Rotate…' }).click();
  await answer(page, 'Rotate');
  await page.getByRole('dialog', { name: `The key "${label}"` }).waitFor();
  const second = await secretOf(page, 'API key');
  assert.notEqual(second, first);
  await assert.rejects(send('GET', '/session', undefined, { key: first }), /401/);
  assert.deepEqual((await send('GET', '/session', undefined, { key: second })).scopes, ['read', 'write']);
  await page.getByRole('button', { name: 'Done' }).click();

  await drawer(page).getByRole('button', { name: 'Revoke…' }).click();
  await answer(page, 'Revoke');
  await page.getByText(`The key ${label} was revoked.`).waitFor();
  await page.getByText('No key has such a label.').waitFor();
  await assert.rejects(send('GET', '/session', undefined, { key: second }), /401/);
  return context;
}

async function refusalsAreTold(browser) {
  const { context, page } = await open(browser, '#/usage?show=keys');
  await page.getByRole('button', { name: 'New API key' }).click();
  const dialog = page.getByRole('dialog', { name: 'New API key' });
  await dialog.getByLabel('Label').fill('nothing');
  for (const scope of ['read', 'write']) await dialog.getByLabel(new RegExp(`^${scope}:`)).uncheck();
  await dialog.getByRole('button', { name: 'Make the key' }).click();
  await dialog.getByText('Choose at least one thing that it may do.').waitFor();
  await page.keyboard.press('Escape');

  // The last key that may administer cannot be revoked: nobody could make another one.
  await rows(page, 'default').first().click();
  await drawer(page).getByRole('button', { name: 'Revoke…' }).click();
  await answer(page, 'Revoke');
  const told = await page.getByRole('dialog').getByRole('alert').textContent();
  assert.match(told, /last key/i);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  return forgiving(context, /status of 409/);
}

async function revokingOnesOwnKey(browser) {
  const label = named('own');
  const own = await send('POST', '/keys', { label, scopes: ['read', 'write', 'admin'] });
  const { context, page } = await open(browser, '#/usage?show=keys', { key: own.apiKey });
  await rowOf(page, label).click();
  await drawer(page).getByText('rotating or revoking it signs you out').waitFor();
  await drawer(page).getByRole('button', { name: 'Revoke…' }).click();
  await answer(page, 'Revoke');
  await page.locator('#key').waitFor();
  await page.getByRole('alert').filter({ hasText: 'You were signed out' }).waitFor();
  return context;
}

async function aReaderSeesLimits(browser) {
  const reader = await send('POST', '/keys', { label: named('reader'), scopes: ['read'] });
  const { context, page } = await open(browser, '#/usage?show=keys', { key: reader.apiKey });
  await limit(page, 'ConcurrentReservations').waitFor();
  assert.equal(await page.getByRole('link', { name: 'API keys' }).count(), 0);
  await send('DELETE', `/keys/${reader.id}`);
  return context;
}

async function tenantsTakeTheAdminKey(browser) {
  const { context, page } = await open(browser, '#/usage');
  await page.getByRole('link', { name: 'Tenants' }).click();
  await page.getByText('Tenants are shown to who has the admin key').waitFor();
  const dialog = page.getByRole('dialog');
  const field = dialog.getByLabel('Admin key of the service');

  await page.getByRole('button', { name: 'Show tenants…' }).click();
  await field.fill('not the admin key');
  await dialog.getByRole('button', { name: 'Show' }).click();
  await dialog.getByText('This is not the admin key of the service.').waitFor();
  assert.equal(await field.inputValue(), '');
  await field.fill(ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Show' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await page.locator('#truth').getAttribute('data-state'), 'live', 'a wrong admin key signs nobody out');

  const name = named('customer');
  await page.getByRole('button', { name: 'New tenant…' }).click();
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Tier').selectOption('Starter');
  assert.equal(await field.inputValue(), '', 'it is asked for anew');
  await field.fill(ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Make the tenant' }).click();
  await page.getByRole('dialog', { name: `The tenant "${name}"` }).waitFor();
  const key = await secretOf(page, 'Its first API key');
  assert.equal((await send('GET', '/session', undefined, { key })).tier, 'Starter');
  await page.getByRole('button', { name: 'Done' }).click();

  await page.getByRole('searchbox').fill(name);
  await rowOf(page, name).filter({ hasText: 'Starter' }).click();
  await drawer(page).getByRole('button', { name: 'Change…' }).click();
  await dialog.getByLabel('Tier').selectOption('Pro');
  await dialog.getByLabel('Names that can be reserved').selectOption('true');
  await dialog.getByLabel('Time to live where a request names none, in seconds').fill('60');
  await dialog.getByLabel('Longest time to live, in seconds').fill('3600');
  await field.fill(ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Change' }).click();
  await page.getByText(`${name} was changed.`).waitFor();
  await rowOf(page, name).filter({ hasText: 'Pro' }).filter({ hasText: 'registered only' }).waitFor();
  await drawer(page).getByText('after 1 m 00 s').waitFor();
  const { tenantId } = await send('GET', '/session', undefined, { key });
  const changed = await administer('GET', `/${tenantId}`);
  assert.deepEqual(
    [changed.tier, changed.requireRegistration, changed.defaultTtlSeconds, changed.maxTtlSeconds],
    ['Pro', true, 60, 3_600],
  );

  // What does not go together is told where it was asked for.
  await drawer(page).getByRole('button', { name: 'Change…' }).click();
  await dialog.getByLabel('Time to live where a request names none, in seconds').fill('7200');
  await field.fill(ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Change' }).click();
  await dialog
    .getByRole('alert')
    .filter({ hasText: /defaultTtlSeconds|maxTtlSeconds|default|longest/i })
    .waitFor();
  await page.keyboard.press('Escape');

  await drawer(page).getByRole('button', { name: 'Delete…' }).click();
  assert.equal(await dialog.getByRole('button', { name: 'Delete' }).isDisabled(), true);
  await dialog.getByLabel(`Type ${name} to confirm`).fill(name);
  await field.fill(ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await page.getByText(`${name} was deleted.`).waitFor();
  await page.getByText('No tenant matches.').waitFor();
  await assert.rejects(send('GET', '/session', undefined, { key }), /401/);
  const kept = await keptIn(page);
  assert.ok(!kept.includes(ADMIN_KEY) && !kept.includes(key), 'neither key is kept');
  return forgiving(context, /status of 400/);
}

async function theKeyboardReachesEverything(browser) {
  const { context, page } = await open(browser, '#/reservations');
  await page.keyboard.press('g');
  await page.keyboard.press('u');
  await page.getByRole('heading', { level: 1, name: 'Usage' }).waitFor();
  await page.getByRole('region', { name: 'Limits' }).focus();
  await page.getByRole('link', { name: 'API keys' }).focus();
  await page.keyboard.press('Enter');
  await rows(page).first().waitFor();
  await page.keyboard.press('t');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await drawer(page).waitFor();
  await page.keyboard.press('Escape');
  await drawer(page).waitFor({ state: 'detached' });
  await page.keyboard.press('n');
  await page.getByRole('dialog', { name: 'New API key' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'INPUT');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  return context;
}
