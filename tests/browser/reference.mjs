// The reader of the OpenAPI document in a real browser: "Try it" of every operation, with a key and signed in; the policy of the page; dark
// mode; a phone; where the link of an error leads. HOLDFAST_URL, HOLDFAST_KEY and HOLDFAST_ADMIN_KEY say where the service is.

import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const url = process.env.HOLDFAST_URL;
const key = process.env.HOLDFAST_KEY;
const adminKey = process.env.HOLDFAST_ADMIN_KEY;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });

/** A page in a browser of its own, and what it complained about or asked other hosts for. */
async function open(path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const faults = [];
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    // A refusal is written to the console by the browser itself.
    const isRefusal = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !isRefusal) faults.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(`${url}/`) && !/^(data|blob):/.test(request.url())) faults.push(`asked ${request.url()}`);
  });
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url + path);
  await page.locator('.opblock-tag').first().waitFor();
  return { context, page, faults };
}

const document = await (await fetch(`${url}/openapi.json`)).json();
const operations = Object.values(document.paths).flatMap((item) => Object.values(item));
const byId = Object.fromEntries(operations.map((operation) => [operation.operationId, operation]));

/** Sends the operation as the reader offers it; `edit` changes what stands there before. */
async function tryIt(page, id, edit) {
  await page.locator(`#contents a[href$="/${id}"]`).click();
  const block = page.locator(`#operations-${byId[id].tags[0]}-${id}`);
  await block.locator('.btn.execute').waitFor();
  // What an earlier call was answered would be read as this one's answer.
  const clear = block.locator('.btn-clear');
  if ((await clear.count()) > 0) await clear.click();
  await edit?.(block);
  await block.locator('.btn.execute').click();
  const status = block.locator('.live-responses-table .response .response-col_status').first();
  await status.waitFor();
  const said = (await status.innerText()).trim();
  assert.ok(!said.includes('Undocumented'), `${id}: ${said} is not in the document`);
  const body = block.locator('.live-responses-table .response .response-col_description .highlight-code, .live-responses-table .response .response-col_description pre');
  const text = (await body.count()) > 0 ? await body.first().innerText() : '';
  // The blocks are heavy; a closed one is not drawn.
  await block.locator('.opblock-summary-control').click();
  return { status: Number.parseInt(said, 10), text };
}

async function mustSucceed(page, id, edit) {
  const answer = await tryIt(page, id, edit);
  const wanted = Object.keys(byId[id].responses).filter((status) => status.startsWith('2')).map(Number);
  assert.ok(wanted.includes(answer.status), `${id}: ${answer.status}, not ${wanted}: ${answer.text}`);
  return answer;
}

/** Chooses an example of the body; it stands there a moment later. */
const withExample = (name, word) => async (block) => {
  await block.locator('.examples-select-element').first().selectOption(name);
  const body = block.locator('textarea.body-param__text');
  for (const end = Date.now() + 60_000; !(await body.inputValue()).includes(word); await block.page().waitForTimeout(20)) {
    assert.ok(Date.now() < end, `the example ${name} is not shown`);
  }
};

const withBody = (value) => (block) => block.locator('textarea.body-param__text').fill(JSON.stringify(value));

async function everyOperationIsTried() {
  const { context, page, faults } = await open('/docs');
  await page.locator('#key').fill(key);
  await page.locator('#credential button').click();
  await page.getByText('test, by key').waitFor();
  await page.locator('.btn.authorize').first().click();
  const dialog = page.locator('.dialog-ux');
  await dialog.locator('.auth-container', { hasText: 'adminKey' }).locator('input').fill(adminKey);
  await dialog.locator('.auth-container', { hasText: 'adminKey' }).locator('.btn.authorize').click();
  assert.equal(await dialog.locator('.auth-container').count(), 4, 'key, bearer, admin key, ingest key');
  await dialog.locator('.close-modal').click();

  // What is held lives for a minute. What removes or ends something comes last; a job is there once it was pushed.
  const last = ['cancelTicket', 'deleteResource', 'deleteCompany', 'deleteKey', 'deleteConnection', 'deleteTenant', 'signIn', 'signOut'];
  const early = ['reserve', 'renew', 'unreserve', 'createConnection', 'ingest', 'listJobs', 'register', 'putCompany'];
  const rest = operations.map(({ operationId }) => operationId).filter((id) => !last.includes(id) && !early.includes(id));
  const inOrder = [...early, ...rest, ...last.slice(0, -2)];
  assert.equal(inOrder.length + 2, operations.length);
  for (const id of inOrder) {
    const answer = await mustSucceed(page, id);
    if (id === 'reserve') assert.match(answer.text, /"ACQUIRED"/);
    if (id === 'renew') assert.match(answer.text, /"RENEWED"/, 'the page fills in the token that it got');
    if (id === 'unreserve') {
      assert.match(answer.text, /"RELINQUISHED"/);
      await mustSucceed(page, 'reserve');
      // A second example: somebody waits, so that there is a ticket to show.
      const waiting = await mustSucceed(page, 'reserve', withExample('wait', 'waitSeconds'));
      assert.match(waiting.text, /"WAITING"/);
      assert.match((await mustSucceed(page, 'cancelTicket')).text, /"CANCELLED"/);
    }
    if (id === 'events') assert.match(answer.text, /connected/);
    if (id === 'queueEvents') assert.match(answer.text, /queue:snapshot|retry/);
  }
  assert.equal((await tryIt(page, 'signIn')).status, 401, 'the example is no key');
  await mustSucceed(page, 'signIn', withBody({ apiKey: key }));
  assert.deepEqual(faults, []);

  // Signed in: the cookie serves a page that knows no key.
  const signedIn = await context.newPage();
  signedIn.setDefaultTimeout(60_000);
  await signedIn.goto(`${url}/docs`);
  await signedIn.getByText('test, by session').waitFor();
  for (const id of ['reserve', 'unreserve', 'activeReservations', 'events', 'createKey', 'listJobs', 'reset', 'signOut']) {
    await mustSucceed(signedIn, id);
  }
  assert.equal((await tryIt(signedIn, 'activeReservations')).status, 401, 'signed out');
  await context.close();
}

async function thePageIsDarkWhereTheSystemIs() {
  const ground = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const brightness = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
  const dark = await open('/docs', { colorScheme: 'dark' });
  assert.ok(brightness(await ground(dark.page)) < 60);
  await dark.page.locator('#theme').click();
  assert.ok(brightness(await ground(dark.page)) > 200);
  await dark.page.reload();
  assert.ok(brightness(await ground(dark.page)) > 200, 'the choice is kept');
  const light = await open('/docs', { colorScheme: 'light' });
  assert.ok(brightness(await ground(light.page)) > 200);
  assert.deepEqual([...dark.faults, ...light.faults], []);
  await dark.context.close();
  await light.context.close();
}

/** The `docsUrl` of a real error, and the row of its code. */
async function theLinkOfAnErrorLands() {
  const refused = await fetch(`${url}/api/v1/Reservation`);
  const { error } = await refused.json();
  for (const [path, text] of [[error.docsUrl, 'Errors'], [`/docs#${error.code}`, error.code]]) {
    const { context, page, faults } = await open(path);
    await page.waitForFunction(() => scrollY > 0);
    const focused = page.locator(':focus');
    assert.ok((await focused.innerText()).startsWith(text), `${path} leads to ${await focused.innerText()}`);
    const top = (await focused.boundingBox()).y;
    assert.ok(top >= 0 && top < 500, `${path} is shown at ${top}`);
    assert.deepEqual(faults, []);
    await context.close();
  }
  for (const { schema } of [{ schema: document.components.schemas.ErrorCode }]) {
    const { context, page } = await open('/docs');
    await page.waitForFunction(() => document.getElementById('errors'));
    for (const code of schema.enum) {
      assert.equal(await page.locator(`tr#${code.toLowerCase()}`).count(), 1, `${code} has a row`);
    }
    await context.close();
  }
}

/** Who calls is said at the end of the header, which a narrow window has no room for in one line. */
async function thePageFitsAPhone() {
  const { context, page, faults } = await open('/docs', { viewport: { width: 420, height: 800 } });
  await page.getByText('Not signed in.').waitFor();
  const widthOf = () => page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok((await widthOf()) <= 420, `signed out: ${await widthOf()} px`);
  await page.locator('#key').fill(key);
  await page.locator('#credential button').click();
  await page.getByText('test, by key').waitFor();
  assert.ok((await widthOf()) <= 420, `with a key: ${await widthOf()} px`);
  for (const [name, path] of [['Dashboard', '/'], ['Guide', '/guide/']]) {
    assert.equal(await page.locator('header').getByRole('link', { name }).getAttribute('href'), path);
  }
  assert.deepEqual(faults, []);
  await context.close();
}

try {
  await thePageFitsAPhone();
  await everyOperationIsTried();
  await thePageIsDarkWhereTheSystemIs();
  await theLinkOfAnErrorLands();
} finally {
  await browser.close();
}
