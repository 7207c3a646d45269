// The queue monitor's client as its document shows it, unchanged but for the connection's id, in a browser that is signed in.
// Prints a line of JSON per line that the client logs.
//
//   HOLDFAST_URL=http://127.0.0.1:8080 HOLDFAST_KEY=hf_live_... HOLDFAST_CONNECTION=<id> node tests/browser/queue.mjs

import { chromium } from 'playwright-core';

const SERVER = process.env.HOLDFAST_URL.replace(/\/$/, '');
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
});
const page = await browser.newPage();
page.on('console', (message) => console.log(JSON.stringify({ logged: message.text() })));
await page.goto(`${SERVER}/`);
await page.evaluate(async (apiKey) => {
  await fetch('/api/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ apiKey }) });
}, process.env.HOLDFAST_KEY);
const client = `
const eventSource = new EventSource(
  "/api/events/stream?connectionId=550e8400-e29b-41d4-a716-446655440000"
);

eventSource.addEventListener("job:state_change", (event) => {
  const job = JSON.parse(event.data);
  console.log(\`Job \${job.name}: \${job.state}\`);
});

eventSource.addEventListener("worker:heartbeat", (event) => {
  const worker = JSON.parse(event.data);
  console.log(\`Worker \${worker.hostname}: \${worker.activeJobs} active jobs\`);
});

eventSource.onerror = () => {
  console.log("SSE connection lost, reconnecting...");
};
`;
await page.evaluate(client.replace('550e8400-e29b-41d4-a716-446655440000', process.env.HOLDFAST_CONNECTION));
