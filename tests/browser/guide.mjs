// The guide in a real Chromium, under the headers that the service sends with it.
//
//   HOLDFAST_URL=http://127.0.0.1:8080 node tests/browser/guide.mjs
//
// `make web` builds the guide first. Prints a line per check and stops at the first that fails, with exit code 1.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const SERVER = process.env.HOLDFAST_URL.replace(/\/$/, '');
const GUIDE = `${SERVER}/guide/`;
const PATIENCE_MS = 20_000;
const PHONE = { width: 390, height: 844 };

const CHECKS = [
  ['every page opens, loads nothing from elsewhere, and fits a phone', everyPageOpens],
  ['the search finds a heading, without any other server', theSearchFindsAHeading],
  ['a session is copied without what it prints', aSessionIsCopiedWithoutItsOutput],
  ['dark is remembered before anything is drawn', darkIsRemembered],
  ['the dashboard and the API reference are one click away', ownPagesAreOneClickAway],
  ['a wrong address says so', aWrongAddressSaysSo],
];

/** What the browser complained of, and what it asked other servers for. */
const complaints = [];

async function everyPageOpens({ page }) {
  await page.goto(`${GUIDE}quick-start`);
  const addresses = await page.locator('.VPSidebar a').evaluateAll((links) => links.map((link) => link.href));
  assert.ok(addresses.length >= 25, `${addresses.length} pages in the sidebar`);
  await page.setViewportSize(PHONE);
  for (const address of [GUIDE, ...addresses]) {
    const answer = await page.goto(address);
    assert.equal(answer.status(), 200, address);
    assert.match(answer.headers()['content-security-policy'], /script-src 'self';/);
    // Drawn by the script, and not merely sent.
    await page.waitForFunction(() => document.querySelector('#app').__vue_app__, null, { timeout: PATIENCE_MS });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width, `${address} is wider than a phone`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
}

async function theSearchFindsAHeading({ page }) {
  await page.goto(GUIDE);
  await page.locator('.VPNavBarSearch button').click();
  await page.locator('.search-input').fill('blockers');
  await page.locator('.result', { hasText: 'Pools, trees and blockers' }).first().click();
  await page.waitForURL(/\/guide\/resources/);
}

async function aSessionIsCopiedWithoutItsOutput({ page, context }) {
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: SERVER });
  await page.goto(`${GUIDE}command-line`);
  const session = page.locator('.session', { hasText: 'holdfast list' });
  assert.match(await session.locator('.output').first().innerText(), /fence 1\d{15}/);
  const command = session.locator('div[class*="language-sh"]').first();
  await command.hover();
  await command.locator('button.copy').click();
  await command.locator('button.copied').waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied.trim(), "holdfast reserve printer --as ann --ttl 5m --note posters");
}

async function darkIsRemembered({ page }) {
  await page.goto(GUIDE);
  const isDark = () => page.evaluate(() => document.documentElement.classList.contains('dark'));
  const before = await isDark();
  await page.locator('.VPNavBarAppearance button').click();
  assert.notEqual(await isDark(), before);
  await page.reload({ waitUntil: 'commit' });
  await page.locator('body').waitFor({ state: 'attached' });
  assert.notEqual(await isDark(), before);
}

async function ownPagesAreOneClickAway({ page }) {
  for (const [name, path] of [['API', '/docs'], ['Dashboard', '/']]) {
    await page.goto(`${GUIDE}quick-start`);
    const [answer] = await Promise.all([
      page.waitForResponse((response) => new URL(response.url()).pathname === path),
      page.locator('a.own-page', { hasText: name }).first().click(),
    ]);
    assert.equal(answer.status(), 200, path);
  }
}

async function aWrongAddressSaysSo({ page }) {
  const answer = await page.goto(`${GUIDE}no/such/page`);
  assert.equal(answer.status(), 404);
  await page.getByText('No such page').waitFor();
  // The browser reports the status itself.
  complaints.length = 0;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
});
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.message}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(SERVER) && !request.url().startsWith('data:')) complaints.push(`${page.url()} asks ${request.url()}`);
  });
  for (const [name, check] of CHECKS) {
    await check({ page, context });
    // The dashboard and the reference have tests of their own.
    const ours = complaints.filter((complaint) => complaint.startsWith(GUIDE));
    assert.deepEqual(ours, [], name);
    console.log(`ok ${name}`);
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  await browser.close();
}
