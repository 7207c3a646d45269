// Every view in light, dark and on a phone: axe finds nothing, nothing overflows, and its picture is taken where SHOTS says so.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import { becomes, openTab, openWindow, signIn } from './support/browser.mjs';
import { run } from './support/checks.mjs';
import { KEY, REPLICAS, reserve, send } from './support/service.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = process.env.SHOTS;
const LOOKS = {
  light: {},
  dark: { dark: true },
  phone: { width: 390, height: 844 },
};
/** What each picture is of, and how to come there. */
const PLACES = [
  ['reservations', '#/reservations'],
  ['reservation', '#/reservations?row=deploy-lock'],
  ['waiting', '#/waiting'],
  ['resources', '#/resources'],
  ['resource', '#/resources?row=gpu'],
  ['events', '#/events'],
];

/** Pictures that are kept: every view in light, and what shows best how it looks elsewhere. */
const KEPT = { dark: ['reservation', 'resources'], phone: ['reservations', 'resource', 'waiting'] };

await run([
  ['the service holds a few things to look at', fill],
  ...Object.entries(LOOKS).map(([look, options]) => [`every view is accessible: ${look}`, (browser) => everyView(browser, look, options)]),
]);

async function fill() {
  await send('POST', '/Resource/register', [
    { name: 'gpu', capacity: 8 }, { name: 'licences', capacity: 200 }, { name: 'staging' },
    { name: 'hall-1', treePath: 'plant' }, { name: 'press', treePath: 'plant>hall-1', blocks: ['hall-light'] }, { name: 'hall-2', treePath: 'plant' },
  ]);
  for (let n = 0; n < 5; n++) await reserve({ resource: 'gpu', requester: `train-${n}`, ttlSeconds: 600 + 60 * n, note: `run ${n}` });
  await reserve({ resource: 'licences', requester: 'studio', quantity: 60, ttlSeconds: 3_000 });
  await reserve({ resource: 'press', requester: 'operator', ttlSeconds: 900, resourceType: 'Machine' });
  await reserve({ resource: 'deploy-lock', requester: 'ci@runner-3', ttlSeconds: 300, note: 'rolling out 1.4' });
  await reserve({ resource: 'nightly-report', requester: 'cron@db-1' });
  const wish = { resource: 'deploy-lock', ttlSeconds: 60, waitSeconds: 3_000, keepAliveSeconds: 3_000 };
  await send('POST', '/Reservation/reserve', [{ ...wish, requester: 'ci@runner-7' }, { ...wish, requester: 'ops@laptop', priority: 10, note: 'hotfix' }]);
  await send('POST', '/Reservation/reserve', [{ resource: 'deploy-lock', requester: 'ci@runner-9' }]);
  await reserve({ resource: 'migration', requester: 'api@web-2' });
  await send('POST', '/Reservation/forceRelease', { resource: 'migration', reason: 'its machine is gone' });
}

async function everyView(browser, look, options) {
  // The policy has no place for axe, which is no part of the page; thePolicyIsStrict looks at it.
  const context = await openWindow(browser, { ...options, bypassCSP: true });
  const page = await openTab(context, `${REPLICAS[0]}/`);
  await page.locator('#key').waitFor();
  await lookAt(page, 'sign-in', look);
  await signIn(page, KEY);
  await becomes(page, 'live');
  for (const [name, path] of PLACES) {
    await page.goto(`${REPLICAS[0]}/${path}`);
    await page.locator('main [role="grid"] .body [role="row"]').first().waitFor();
    if (path.includes('row=')) await page.getByRole('complementary').getByText(/deploy-lock|gpu/).first().waitFor();
    await lookAt(page, name, look);
  }
  await page.goto(`${REPLICAS[0]}/#/resources`);
  await page.getByRole('button', { name: 'Plan a file…' }).click();
  await page.getByRole('dialog').getByLabel('Definitions, as TOML or JSON').fill('[[resource]]\nname = "gpu"\ncapacity = 12\n[[resource]]\nname = "robot"\ntreePath = "plant>hall-2"');
  await page.getByText('1 to create, 1 to change').waitFor();
  await lookAt(page, 'plan', look);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Keys' }).click();
  await page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await lookAt(page, 'keys', look);
  return context;
}

async function lookAt(page, name, look) {
  if (SHOTS && (KEPT[look]?.includes(name) ?? true)) await page.screenshot({ path: `${SHOTS}/${name}-${look}.png` });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `${name}, ${look}: the page is ${overflow} px wider than the window`);
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`);
  });
  assert.deepEqual(found, [], `${name}, ${look}`);
}
