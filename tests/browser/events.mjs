// A browser's own EventSource, as the documents show it: the key in the query. Prints a line of JSON per thing seen.
//
//   HOLDFAST_URL=http://127.0.0.1:8080 HOLDFAST_KEY=hf_live_... node tests/browser/events.mjs

import { chromium } from 'playwright-core';

const SERVER = process.env.HOLDFAST_URL.replace(/\/$/, '');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});
const page = await browser.newPage();
await page.exposeFunction('say', (seen) => console.log(JSON.stringify(seen)));
await page.goto(`${SERVER}/`);
await page.evaluate((key) => {
  const url = new URL('/api/v1/events', location.href);
  url.searchParams.set('api_key', key);
  url.searchParams.set('types', 'RESERVED,UNRESERVED,trade');
  const es = new EventSource(url.toString());
  es.onopen = () => say({ open: true });
  es.onmessage = (e) => say({ message: JSON.parse(e.data) });
  for (const type of ['RESERVED', 'UNRESERVED', 'trade', 'RESET_CURSOR']) {
    es.addEventListener(type, (e) => say({ type, event: JSON.parse(e.data), id: e.lastEventId }));
  }
  es.onerror = () => say({ error: true }); // it reconnects by itself
}, process.env.HOLDFAST_KEY);
