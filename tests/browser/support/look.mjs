// Whether a place of the page is accessible and fits, and its picture, where SHOTS says a folder.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const SHOTS = process.env.SHOTS;

export const LOOKS = {
  light: {},
  dark: { dark: true },
  phone: { width: 390, height: 844 },
};

export async function lookAt(page, name, look) {
  if (SHOTS) await page.screenshot({ path: `${SHOTS}/${name}-${look}.png` });
  const overflow = await page.evaluate(() =>
    Math.max(
      ...[document.documentElement, ...document.querySelectorAll('dialog[open]')].map(
        (element) => element.scrollWidth - element.clientWidth,
      ),
    ),
  );
  assert.ok(overflow <= 0, `${name}, ${look}: the page is ${overflow} px wider than the window`);
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map(
      ({ id, nodes }) =>
        `${id}: ${nodes
          .slice(0, 3)
          .map((node) => `${node.html} ${node.failureSummary}`)
          .join(' | ')}`,
    );
  });
  assert.deepEqual(found, [], `${name}, ${look}`);
}
