// Queues, usage and charts in light, dark and on a phone: axe finds nothing, nothing overflows, and their pictures are taken
// where SHOTS says so.

import { becomes, openTab, openWindow, rows, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { LOOKS, lookAt } from './support/look.mjs';
import { KEY, please, REPLICAS, reserve, send } from './support/service.mjs';

const [HERE] = REPLICAS;
const BROKER = process.env.BROKER_URL;
const NOBODY = process.env.NOBODY_URL;
let [celery, billing] = ['', ''];
const TRACE = `Traceback (most recent call last):
  File "/srv/billing/tasks.py", line 41, in charge
    receipt = gateway.charge(order.card, order.total)
  File "/srv/billing/gateway.py", line 87, in charge
    raise CardDeclined(answer.reason)
billing.gateway.CardDeclined: insufficient funds`;

await run([
  ['there is something to look at', fill],
  ...Object.entries(LOOKS).map(([look, options]) => [
    `queues, usage and charts are accessible: ${look}`,
    (browser) => everyPlace(browser, look, options),
  ]),
]);

async function fill() {
  ({ id: celery } = await send('POST', '/connections', { name: 'shop', framework: 'celery', brokerUrl: BROKER }));
  await send('POST', '/connections', { name: 'media', framework: 'bullmq', brokerUrl: BROKER });
  await send('POST', '/connections', { name: 'warehouse', framework: 'celery', brokerUrl: NOBODY });
  await watched('shop');
  await watched('media');
  await please('celery worker emails');
  await please('celery emails add,fail,flaky,eta,expire');
  await please('bullmq worker images');
  await please('bullmq images plain,priority,progress,fail,flaky,delayed,later');
  const pushed = await send('POST', '/connections', { name: 'billing', framework: 'celery' });
  billing = pushed.id;
  for (const [n, state] of ['completed', 'active', 'failed', 'completed', 'failed'].entries())
    await pushJob(pushed, `charge-${n}`, state);
  for (const [label, scopes] of [
    ['ci', ['read', 'write']],
    ['grafana', ['read']],
    ['on-call laptop', ['read', 'write', 'admin']],
  ])
    await send('POST', '/keys', { label, scopes });
  await reserve({ resource: 'nightly-report', requester: 'cron@db-1' });
  await reserve({ resource: 'migration', requester: 'api@web-2', note: 'nobody knows why' });
  for (let n = 0; n < 24; n++) {
    const grant = await reserve({
      resource: `build-${n % 5}-${n}`,
      requester: `ci@runner-${n % 4}`,
      ttlSeconds: n % 3 === 0 ? 1 : 900,
    });
    if (n % 4 === 0)
      await send('POST', '/Reservation/unreserve', [
        { resource: grant.resource, requester: grant.requester, releaseToken: grant.releaseToken },
      ]);
  }
  await send('POST', '/Reservation/reserve', [
    { resource: 'migration', requester: 'api@web-3', waitSeconds: 3_000, keepAliveSeconds: 3_000 },
  ]);
}

/** What a worker of somebody's would send of a job that goes all its way to a state. */
async function pushJob({ id, ingestKey }, externalId, last) {
  const began = Date.now() - 9_000;
  const steps = ['queued', 'active', ...(last === 'active' ? [] : [last])];
  const events = steps.map((state, at) => ({
    type: 'job:state_change',
    framework: 'celery',
    connectionId: id,
    timestamp: new Date(began + at * 2_400).toISOString(),
    job: {
      externalId,
      name: 'billing.charge',
      queue: 'billing',
      state,
      workerId: 'billing@app-2',
      attempt: 1,
      maxRetries: 3,
      ...(state === 'failed' && { error: "CardDeclined('insufficient funds')", stacktrace: TRACE }),
    },
  }));
  const response = await fetch(`${HERE}/api/ingest`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${ingestKey}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ events }),
  });
  if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`);
}

async function watched(name) {
  const isWatched = async () =>
    (await send('GET', '/connections')).connections.some((one) => one.name === name && one.health.connectedSince !== null);
  while (!(await isWatched())) await new Promise((resolve) => setTimeout(resolve, 200));
}

async function everyPlace(browser, look, options) {
  // The policy has no place for axe, which is no part of the page.
  const context = await openWindow(browser, { ...options, bypassCSP: true });
  const page = await openTab(context, `${HERE}/`);
  await signIn(page, KEY);
  await becomes(page, 'live');
  const go = (path) => page.goto(`${HERE}/#/${path}`);
  const drawer = page.getByRole('complementary');
  const dialog = page.getByRole('dialog');

  await go(`queues?connection=${celery}`);
  await rows(page, 'emails').waitFor();
  await lookAt(page, 'queues', look);
  await go(`queues?connection=${celery}&queue=emails`);
  await drawer.getByRole('img').waitFor();
  await lookAt(page, 'queue', look);
  await go(`queues?connection=${celery}&show=jobs`);
  await rows(page, 'shop.fail').waitFor();
  await lookAt(page, 'jobs', look);
  await go(`queues?connection=${billing}&show=jobs`);
  await rows(page, 'failed').first().click();
  await drawer.getByLabel('Stack trace', { exact: true }).waitFor();
  await lookAt(page, 'job', look);
  await go(`queues?connection=${celery}&show=workers`);
  await rows(page).first().click();
  await drawer.getByText('Process').waitFor();
  await lookAt(page, 'workers', look);
  await go('queues?show=connections');
  await rows(page, 'warehouse').filter({ hasText: 'Not reached' }).click();
  await drawer.getByText('Nobody listens').waitFor();
  await lookAt(page, 'connections', look);
  await page.keyboard.press('Escape');
  await page.keyboard.press('n');
  await dialog.getByText('Where your settings differ').click();
  await lookAt(page, 'new-connection', look);
  await dialog.getByLabel('Name').fill(`by hand, ${look}`);
  await dialog.getByLabel('Workers send what happens').check();
  await dialog.getByRole('button', { name: 'Make and try it' }).click();
  await dialog.getByLabel('Ingest key').waitFor();
  await lookAt(page, 'made-connection', look);
  await dialog.getByRole('button', { name: 'Done' }).click();

  await go('usage');
  await page.getByText('Reservations held at once').waitFor();
  await lookAt(page, 'usage', look);
  await go('usage?show=keys');
  await rows(page, 'grafana').click();
  await drawer.waitFor();
  await lookAt(page, 'api-keys', look);
  await page.keyboard.press('Escape');
  await page.keyboard.press('n');
  await lookAt(page, 'new-api-key', look);
  await dialog.getByLabel('Label').fill(`made, ${look}`);
  await dialog.getByRole('button', { name: 'Make the key' }).click();
  await dialog.getByLabel('API key', { exact: true }).waitFor();
  await lookAt(page, 'made-api-key', look);
  await dialog.getByRole('button', { name: 'Done' }).click();
  await go('usage?show=tenants');
  await page.getByRole('button', { name: 'Show tenants…' }).click();
  await lookAt(page, 'admin-key', look);
  await dialog.getByLabel('Admin key of the service').fill(process.env.HOLDFAST_ADMIN_KEY);
  await dialog.getByRole('button', { name: 'Show' }).click();
  await rows(page).first().click();
  await drawer.waitFor();
  await lookAt(page, 'tenants', look);

  await go('charts');
  await page.locator('#charts-state[data-state="whole"]').waitFor();
  await page.getByRole('figure', { name: 'Held', exact: true }).locator('summary').click();
  await page.getByRole('figure', { name: 'Held', exact: true }).getByRole('row').nth(1).waitFor();
  await lookAt(page, 'charts', look);
  await page.getByRole('figure', { name: 'Held', exact: true }).locator('summary').click();
  await page.getByRole('region', { name: /^Held without an end/ }).scrollIntoViewIfNeeded();
  await lookAt(page, 'long-holds', look);
  return context;
}
