// Runs checks in order; stops at the first that fails, with exit code 1.

import assert from 'node:assert/strict';

import { launch } from './browser.mjs';

/**
 * @param {[string, (browser) => Promise<object | void>][]} checks sentences about the page; a window that is given back is
 *   looked at for complaints, and closed
 */
export async function run(checks) {
  const wanted = process.argv[2];
  const browser = await launch();
  let current = 'start';
  try {
    for (const [name, check] of checks) {
      if (wanted !== undefined && !name.includes(wanted)) continue;
      current = name;
      const began = Date.now();
      const context = await check(browser);
      if (context !== undefined) {
        assert.deepEqual(context.complaints, [], 'the console and the policy have nothing to say');
        await context.close();
      }
      console.log(`ok: ${name} (${Date.now() - began} ms)`);
    }
  } catch (fault) {
    console.error(`FAILED: ${current}\n${fault.stack}`);
    for (const [at, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
      const shot = process.env.FAILED_SHOTS;
      if (shot) await page.screenshot({ path: `${shot}/failed-${at}.png` }).catch(() => {});
      console.error(await page.locator('body').innerText().catch(() => 'no page'));
    }
    process.exitCode = 1;
  } finally {
    await browser.close();
    process.exit();
  }
}
