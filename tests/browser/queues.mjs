// The view of queues in a real Chromium: connections to real brokers, and the jobs of a real Celery and a real BullMQ.

import assert from 'node:assert/strict';

import { answer, becomes, openTab, openWindow, rowOf, rows, show, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, named, please, REPLICAS, send } from './support/service.mjs';

const [HERE] = REPLICAS;
const BROKER = process.env.BROKER_URL; // where the workers are
const NOBODY = process.env.NOBODY_URL; // allowed, and nobody listens there
// A killed worker is offline three of its heartbeats later, and the list is read again within seconds.
const OFFLINE_MS = 30_000;
// Lists are read each 3 s at most; a first failure does not wait for that.
const CONTRADICTS_MS = 1_500;

const CELERY = named('shop');
const BULLMQ = named('media');
const PUSHED = named('pushed');
/** Of the connection that is pushed to. */
let [pushed, pushKey] = ['', ''];

await run([
  ['without a connection it says what to do, and a broker that is not allowed is told at its field', aForbiddenBrokerIsTold],
  ['a connection to Celery is tried at once, and its key is shown once', celeryIsWatched],
  ['a broker that nobody answers at is told in words for people', nobodyAnswers],
  ['what Celery does is seen without a reload', whatCeleryDoesIsSeen],
  ['jobs are chosen by state, searched, and kept in the address', jobsAreChosen],
  ['a failed job shows its error, stack trace and history', aFailedJobTellsItsStory],
  ['BullMQ is watched, with its scheduled jobs', bullmqIsWatched],
  ['pushed jobs appear by themselves, and change where they stand', pushedJobsAppear],
  ['the numbers of the last minute say since when they count, and no row contradicts them', numbersAgree],
  ['many jobs are read in steps', manyJobsAreReadInSteps],
  ['a worker that dies is seen to be offline', aDeadWorkerIsOffline],
  ['a lost stream is said, and comes back by itself', aLostStreamIsSaid],
  ['a key that only reads sees queues, and no connections', aReaderSeesQueues],
  ['the keyboard reaches everything', theKeyboardReachesEverything],
  ['a connection is deleted behind a typed confirmation', aConnectionIsDeleted],
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

/** The part of the view that is on: a link of it. */
async function part(page, title) {
  await page.getByRole('navigation', { name: 'Of this connection' }).getByRole('link', { name: title, exact: true }).click();
}

async function idOf(name) {
  const { connections } = await send('GET', '/connections');
  return connections.find((connection) => connection.name === name).id;
}

async function jobsOf(name, more = '') {
  return `#/queues?connection=${await idOf(name)}&show=jobs${more}`;
}

async function aForbiddenBrokerIsTold(browser) {
  const { context, page } = await open(browser, '#/reservations');
  await show(page, 'Queues');
  await page.getByText('No queue is watched yet.').waitFor();
  await page.getByRole('button', { name: 'New connection' }).click();
  const dialog = page.getByRole('dialog', { name: 'New connection' });
  await dialog.getByLabel('Name').fill(named('never'));
  await dialog.getByLabel('Address of the broker').fill('redis://192.0.2.1:6379/0');
  await dialog.getByRole('button', { name: 'Make and try it' }).click();
  const field = dialog.getByLabel('Address of the broker');
  await dialog.locator('input[aria-invalid="true"]').waitFor();
  assert.equal(await field.getAttribute('aria-invalid'), 'true');
  assert.match(await dialog.getByRole('alert').filter({ hasText: /\w/ }).textContent(), /broker|allowed|host/i);
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.deepEqual((await send('GET', '/connections')).connections, []);
  return forgiving(context, /status of 400/);
}

/** The network's own word for a refusal that a check asked for. */
function forgiving(context, pattern) {
  context.complaints = context.complaints.filter((complaint) => !pattern.test(complaint));
  return context;
}

async function make(page, { name, framework, broker }) {
  await page.getByRole('button', { name: 'New connection' }).click();
  const dialog = page.getByRole('dialog', { name: 'New connection' });
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel(framework, { exact: true }).check();
  if (broker === null) await dialog.getByLabel('Workers send what happens').check();
  else await dialog.getByLabel('Address of the broker').fill(broker);
  await dialog.getByRole('button', { name: 'Make and try it' }).click();
  return page.getByRole('dialog', { name: `${name} is made` });
}

async function celeryIsWatched(browser) {
  const { context, page } = await open(browser, '#/queues');
  const made = await make(page, { name: CELERY, framework: 'Celery', broker: BROKER });
  await made.getByRole('status').filter({ hasText: 'The broker answers, and is watched.' }).waitFor();
  await made.getByText('app.conf.task_send_sent_event = True').waitFor();
  const key = await made.getByLabel('Ingest key').inputValue();
  assert.match(key, /^sk_live_/);
  await made.getByRole('button', { name: 'Done' }).click();
  await drawer(page).getByText('Watched', { exact: true }).waitFor();
  await drawer(page).getByText('Watched for').waitFor();
  const kept = await page.evaluate(() =>
    [
      document.documentElement.outerHTML,
      ...[...document.querySelectorAll('input')].map((input) => input.value),
      JSON.stringify(localStorage),
      JSON.stringify(sessionStorage),
      location.href,
    ].join('\n'),
  );
  assert.ok(!kept.includes(key), 'the key is gone with its dialog');
  assert.ok(!kept.includes(BROKER), 'and so is the address of the broker');
  return context;
}

async function nobodyAnswers(browser) {
  const name = named('nobody');
  const { context, page } = await open(browser, '#/queues?show=connections');
  const made = await make(page, { name, framework: 'Celery', broker: NOBODY });
  await made.getByRole('status').filter({ hasText: 'Nobody listens at that address' }).waitFor();
  await made.getByRole('button', { name: 'Done' }).click();
  await rowOf(page, name).filter({ hasText: 'Not reached' }).waitFor();
  await drawer(page).getByText('Nobody listens at that address').waitFor();
  await part(page, 'Queues');
  await page.locator('main .stale').filter({ hasText: 'Nobody listens at that address' }).waitFor();
  await send('DELETE', `/connections/${await idOf(name)}`);
  return context;
}

async function whatCeleryDoesIsSeen(browser) {
  const { context, page } = await open(browser, `#/queues?connection=${await idOf(CELERY)}`);
  await page.getByText('Celery tells what happens only when it is asked to').waitFor();
  await please('celery worker emails');
  await please('celery emails add,fail,flaky,eta');
  const queue = rowOf(page, 'emails');
  await queue.waitFor();
  // Seven jobs ended: four additions, a failure, a retried one, a delayed one.
  await page
    .locator('#ended-jobs')
    .filter({ hasText: /^[1-9]/ })
    .waitFor();
  await queue.locator('[data-column="failures"]').filter({ hasText: '14%' }).waitFor();
  await queue
    .locator('[data-column="throughput"]')
    .filter({ hasText: /^[4-7](\.\d+)?\/min$/ })
    .waitFor();
  await queue.getByRole('img', { name: '6 jobs completed, 1 failed' }).waitFor();
  await queue.locator('[data-column="consumers"]').filter({ hasText: '1' }).waitFor();
  assert.equal(page.loads, 1);
  await queue.click();
  await drawer(page).getByText('Workers that took a job from the queue').waitFor();
  await drawer(page).getByRole('link', { name: 'Those that failed' }).click();
  await rowOf(page, 'shop.fail').waitFor();
  await page.getByText('All 1 are shown.').waitFor();
  assert.equal(await rows(page).count(), 1);
  return context;
}

async function jobsAreChosen(browser) {
  const { context, page } = await open(browser, await jobsOf(CELERY));
  const choose = (state) => page.getByRole('group', { name: 'Jobs in the state' }).locator(`button[data-state="${state}"]`);
  await choose('').filter({ hasText: 'all 7' }).waitFor();
  await choose('failed').filter({ hasText: 'failed 1' }).waitFor();
  await choose('completed').filter({ hasText: 'completed 6' }).waitFor();
  await choose('completed').click();
  await page.getByText('All 6 are shown.').waitFor();
  assert.equal(await rows(page, 'shop.fail').count(), 0);
  await page.getByRole('searchbox').fill('flaky');
  await page.getByText('All 1 are shown.').waitFor();
  assert.match(page.url(), /state=completed/);
  assert.match(page.url(), /q=flaky/);
  await page.reload();
  await rowOf(page, 'shop.flaky').waitFor();
  assert.equal(await rows(page).count(), 1);
  await choose('failed').click();
  await page.getByText('No job matches.').waitFor();
  await page.getByRole('searchbox').fill('');
  await rowOf(page, 'shop.fail').waitFor();
  await choose('').click();
  await page.getByText('All 7 are shown.').waitFor();
  await page.getByRole('columnheader', { name: 'Job' }).getByRole('button').click();
  await rows(page).first().filter({ hasText: 'shop.add' }).waitFor();
  await page.getByRole('columnheader', { name: 'Job' }).getByRole('button').click();
  await rows(page).first().filter({ hasText: 'shop.flaky' }).waitFor();
  return context;
}

async function aFailedJobTellsItsStory(browser) {
  const { context, page } = await open(browser, await jobsOf(CELERY, '&state=failed'));
  await rowOf(page, 'shop.fail').click();
  const panel = drawer(page);
  await panel.getByRole('heading', { name: 'shop.fail' }).waitFor();
  await panel.getByLabel('Error', { exact: true }).filter({ hasText: 'no such product' }).waitFor();
  const trace = await panel.getByLabel('Stack trace', { exact: true }).textContent();
  assert.match(trace, /shop\.py/);
  assert.match(trace, /raise ValueError/);
  const steps = await panel.locator('.history .badge').allTextContents();
  assert.deepEqual(steps, ['queued', 'active', 'failed']);
  await panel.getByText('prefork@test').waitFor();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await panel.getByRole('button', { name: 'Copy stack trace' }).click();
  await panel.getByText('Copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), trace);
  await page.keyboard.press('Escape');
  await panel.waitFor({ state: 'detached' });

  // A retried one went through more, and its other runs are a click away.
  await page.goto(`${HERE}/${await jobsOf(CELERY, '&q=flaky')}`);
  await rowOf(page, 'shop.flaky').click();
  await panel.locator('.history').getByText('retrying').waitFor();
  await panel.getByText(/^2( of \d+)?$/).waitFor();
  await page.goto(`${HERE}/${await jobsOf(CELERY, '&q=shop.add')}`);
  await rows(page).first().click();
  await panel.getByText('Other jobs of this name').waitFor();
  const first = page.url();
  await panel.locator('.others a').first().click();
  assert.notEqual(page.url(), first);
  await panel.getByRole('heading', { name: 'shop.add' }).waitFor();
  return context;
}

async function bullmqIsWatched(browser) {
  const { context, page } = await open(browser, '#/queues?show=connections');
  const made = await make(page, { name: BULLMQ, framework: 'BullMQ', broker: BROKER });
  await made.getByRole('status').filter({ hasText: 'The broker answers, and is watched.' }).waitFor();
  await made.getByRole('button', { name: 'Done' }).click();
  await please('bullmq worker images');
  await please('bullmq images plain,fail,flaky,later');
  await page.goto(`${HERE}/${await jobsOf(BULLMQ)}`);
  await page.getByText('All 6 are shown.').waitFor();
  await rowOf(page, 'fail').filter({ hasText: 'failed' }).click();
  assert.match(await drawer(page).getByLabel('Stack trace', { exact: true }).textContent(), /work\.mjs/);
  await page.locator('button[data-state="scheduled"]').filter({ hasText: 'scheduled 1' }).click();
  await rows(page).first().click();
  await drawer(page).getByText('Starts in').waitFor();
  await drawer(page)
    .getByText(/^59 m \d\d s$/)
    .waitFor();
  // The other connection is a choice away, without the first one's filters.
  await page.getByRole('combobox', { name: 'Connection' }).selectOption({ label: CELERY });
  await page.getByText('All 7 are shown.').waitFor();
  return context;
}

async function ingest(events) {
  const response = await fetch(`${HERE}/api/ingest`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${pushKey}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ events: events.map((event) => ({ framework: 'celery', connectionId: pushed, ...event })) }),
  });
  assert.equal(response.status, 202, await response.text());
}

function job(externalId, state, more = {}) {
  return {
    type: 'job:state_change',
    timestamp: new Date().toISOString(),
    job: { externalId, name: `task-${externalId}`, queue: 'default', state, ...more },
  };
}

async function pushedJobsAppear(browser) {
  const { context, page } = await open(browser, '#/queues?show=connections');
  const made = await make(page, { name: PUSHED, framework: 'Celery', broker: null });
  pushKey = await made.getByLabel('Ingest key').inputValue();
  await made.getByLabel('Command').filter({ hasText: '/api/ingest' }).waitFor();
  await made.getByRole('button', { name: 'Done' }).click();
  await rowOf(page, PUSHED).filter({ hasText: 'Pushed to' }).waitFor();
  pushed = await idOf(PUSHED);

  await page.goto(`${HERE}/${await jobsOf(PUSHED)}`);
  await page.getByText('No job has been seen yet.').waitFor();
  const loads = page.loads;
  await ingest([job('one', 'queued', { name: '<b>bold</b>' })]);
  const row = rowOf(page, '<b>bold</b>');
  await row.filter({ hasText: 'queued' }).waitFor();
  await row.click();
  await drawer(page).getByRole('heading', { name: '<b>bold</b>' }).waitFor();
  await ingest([job('one', 'active', { name: '<b>bold</b>', progress: 0.5 })]);
  await row.filter({ hasText: 'active' }).waitFor();
  await drawer(page).getByText('50 %').waitFor();
  await ingest([job('one', 'completed', { name: '<b>bold</b>' })]);
  await row.filter({ hasText: 'completed' }).waitFor();
  await drawer(page).locator('.history').getByText('completed').waitFor();
  assert.equal(page.loads, loads);
  assert.equal(await page.locator('main b').count(), 0);
  return context;
}

async function numbersAgree(browser) {
  const { context, page } = await open(browser, `#/queues?connection=${pushed}&show=queues`);
  const failed = page.locator('#failed-jobs');
  const age = page.locator('dl', { has: failed }).locator('dt', { hasText: /^failed in the last \d+ s$/ });
  await age.waitFor();
  const seconds = async () => Number((await age.textContent()).match(/\d+/)[0]);
  const young = await seconds();
  assert.ok(young < 60, `counted for ${young} s`);
  const row = rows(page).first().locator('[data-column="failures"]');
  await row.getByText('0%').waitFor();
  // The lists were just read when the failure comes, so that by their pace they would be read again in 3 s.
  const read = page.waitForResponse((response) => response.url().includes('/api/queues?'));
  await ingest([job('two', 'completed')]);
  await read;
  await page.evaluate(() => {
    window.contradiction = { beganMs: null, endedMs: null };
    const look = () => {
      const isFailed = document.getElementById('failed-jobs').textContent !== '0';
      const isTold = [...document.querySelectorAll('main [role="row"] [data-column="failures"]')].some((cell) => /[1-9]/.test(cell.textContent));
      if (isFailed) window.contradiction.beganMs ??= performance.now();
      if (isFailed && isTold) window.contradiction.endedMs ??= performance.now();
    };
    new MutationObserver(look).observe(document.querySelector('main'), { childList: true, characterData: true, subtree: true });
  });
  await ingest([job('three', 'failed', { error: 'no' })]);
  await failed.filter({ hasText: /^1$/ }).waitFor();
  await page.waitForFunction(() => window.contradiction.endedMs !== null);
  const { beganMs, endedMs } = await page.evaluate(() => window.contradiction);
  assert.ok(endedMs - beganMs < CONTRADICTS_MS, `0 % beside a failure for ${endedMs - beganMs} ms`);
  await page.waitForFunction((before) => {
    const name = document.getElementById('failed-jobs').previousElementSibling.textContent;
    return Number(name.match(/in the last (\d+) s/)?.[1]) > before;
  }, young);
  return context;
}

async function manyJobsAreReadInSteps(browser) {
  for (const hundred of [0, 1]) await ingest(Array.from({ length: 100 }, (_, n) => job(`many-${hundred}-${n}`, 'queued')));
  await ingest(Array.from({ length: 30 }, (_, n) => job(`many-2-${n}`, 'failed', { error: 'no' })));
  const { context, page } = await open(browser, await jobsOf(PUSHED));
  await page.getByText('100 of 233 are shown.').waitFor();
  await page.getByRole('button', { name: 'Show more' }).click();
  await page.getByText('200 of 233 are shown.').waitFor();
  await page.getByRole('button', { name: 'Show more' }).click();
  await page.getByText('All 233 are shown.').waitFor();
  // Only the rows in sight are drawn.
  assert.ok((await rows(page).count()) < 60);
  const grid = page.getByRole('grid', { name: 'Jobs' });
  assert.equal(await grid.getAttribute('aria-rowcount'), '234');
  return context;
}

async function aDeadWorkerIsOffline(browser) {
  const { context, page } = await open(browser, `#/queues?connection=${await idOf(CELERY)}&show=workers`);
  const worker = rowOf(page, 'prefork@test');
  await worker.filter({ hasText: /idle|online/ }).waitFor();
  await worker.click();
  await drawer(page).getByText('emails').waitFor();
  await please('celery worker kill');
  await worker.filter({ hasText: 'offline' }).waitFor({ timeout: OFFLINE_MS });
  assert.equal(page.loads, 1);
  await drawer(page).getByRole('link', { name: 'Its jobs' }).click();
  await page.getByRole('button', { name: 'Worker: prefork@test ×' }).waitFor();
  await page.getByText('All 7 are shown.').waitFor();
  return context;
}

async function aLostStreamIsSaid(browser) {
  const { context, page } = await open(browser, await jobsOf(PUSHED));
  await page.getByText('100 of 233 are shown.').waitFor();
  await context.setOffline(true);
  await page.locator('main .stale').filter({ hasText: 'What is shown may be out of date' }).waitFor();
  await context.setOffline(false);
  await page.locator('main .stale').first().waitFor({ state: 'detached' });
  await ingest([job('after', 'queued')]);
  await rowOf(page, 'task-after').waitFor();
  return context;
}

async function aReaderSeesQueues(browser) {
  const reader = await send('POST', '/keys', { label: named('reader'), scopes: ['read'] });
  const { context, page } = await open(browser, '#/queues', { key: reader.apiKey });
  await page.getByRole('navigation', { name: 'Of this connection' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Connections' }).count(), 0);
  assert.equal(await page.getByRole('button', { name: 'New connection' }).count(), 0);
  await page.goto(`${HERE}/#/queues?show=connections`);
  await rows(page).first().waitFor();
  await send('DELETE', `/keys/${reader.id}`);
  return context;
}

async function theKeyboardReachesEverything(browser) {
  const { context, page } = await open(browser, '#/reservations');
  await page.keyboard.press('g');
  await page.keyboard.press('q');
  await page.getByRole('heading', { level: 1, name: 'Queues' }).waitFor();
  await page.goto(`${HERE}/${await jobsOf(CELERY)}`);
  await page.getByText('All 7 are shown.').waitFor();
  await page.keyboard.press('t');
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  const panel = drawer(page);
  await panel.waitFor();
  await page.waitForFunction(() => document.querySelector('aside')?.contains(document.activeElement));
  await page.keyboard.press('Escape');
  await panel.waitFor({ state: 'detached' });
  await part(page, 'Connections');
  await page.getByRole('grid', { name: 'Connections' }).waitFor();
  await page.keyboard.press('n');
  await page.getByRole('dialog', { name: 'New connection' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('name')), 'name');
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  return context;
}

async function aConnectionIsDeleted(browser) {
  const { context, page } = await open(browser, '#/queues?show=connections');
  for (const name of [CELERY, BULLMQ, PUSHED]) {
    await rowOf(page, name).click();
    await drawer(page).getByRole('button', { name: 'Delete…' }).click();
    const action = page.getByRole('dialog').getByRole('button', { name: 'Delete' });
    assert.equal(await action.isDisabled(), true);
    await answer(page, 'Delete', { 'Type delete to confirm': 'delete' });
    await page.getByText(`${name} was deleted.`).waitFor();
    await rowOf(page, name).waitFor({ state: 'detached' });
  }
  await page.getByText('No queue is watched yet.').waitFor();
  assert.deepEqual((await send('GET', '/connections')).connections, []);
  return context;
}
