// A Chromium that tells what it complains of, and the parts of the page that many checks look at.

import { chromium } from 'playwright-core';

const BROWSER = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
export const PATIENCE_MS = 20_000;

/** What the network says of calls that are refused, or of a server that is away, both on purpose. */
const EXPECTED = [/^Failed to load resource: the server responded with a status of [45]\d\d/, /net::ERR_/];

export async function launch() {
  return chromium.launch({ executablePath: BROWSER, args: FLAGS });
}

/** A window of its own: with its own cookies. */
export async function openWindow(browser, { width = 1280, height = 800, dark = false, bypassCSP = false } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', bypassCSP, timezoneId: 'UTC', locale: 'en-GB',
  });
  context.setDefaultTimeout(PATIENCE_MS);
  context.complaints = [];
  return context;
}

/** A tab of it. What its console and its policy complain of gathers in `context.complaints`. */
export async function openTab(context, url) {
  const page = await context.newPage();
  const hear = (text) => EXPECTED.some((pattern) => pattern.test(text)) || context.complaints.push(text);
  page.on('console', (message) => message.type() === 'error' && hear(message.text()));
  page.on('pageerror', (error) => hear(error.stack ?? String(error)));
  page.on('dialog', (dialog) => {
    hear(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.loads = 0;
  page.on('load', () => (page.loads += 1));
  await page.exposeFunction('policyViolated', hear);
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (violation) => {
      window.policyViolated(`the policy forbids ${violation.blockedURI || violation.sample} by ${violation.effectiveDirective}`);
    });
  });
  await page.goto(url);
  return page;
}

export async function signIn(page, key) {
  await page.locator('#key').fill(key);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

export async function becomes(page, state, timeout = PATIENCE_MS) {
  await page.locator(`#truth[data-state="${state}"]`).waitFor({ timeout });
}

/** Shows a view by its link. */
export async function show(page, title) {
  await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: title, exact: true }).click();
  await page.getByRole('heading', { level: 1, name: title }).waitFor({ state: 'attached' });
}

/** The rows of the view's table that say something. */
export function rows(page, text) {
  const all = page.locator('main [role="grid"] .body [role="row"]');
  return text === undefined ? all : all.filter({ hasText: text });
}

/** The row of a name. */
export function rowOf(page, name) {
  return page.locator('main [role="grid"] .body [role="row"]', { has: page.locator('[role="rowheader"] .one-line', { hasText: exactly(name) }) });
}

function exactly(name) {
  return new RegExp(`^\\s*(└ )?${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}\\s*$`);
}

/** Answers the question in front of the page. */
export async function answer(page, action, fields = {}) {
  const dialog = page.getByRole('dialog');
  for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label).fill(value);
  await dialog.getByRole('button', { name: action }).click();
}
