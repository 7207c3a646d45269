#!/usr/bin/env node
// Follows the tenant's events across restarts and broken connections: follow.mjs FILE
//
// Every event has an id. FILE keeps the id of the last one that was handled; with it in the header `Last-Event-ID` the
// stream goes on where it stopped, on any replica. An event is handled first and noted second, so after a crash the last
// one may come twice: make `handle` repeatable. (In a browser, EventSource does all of this but the file.)
//
// HOLDFAST_URL and HOLDFAST_KEY say where and as whom.

import { readFileSync, renameSync, writeFileSync } from 'node:fs';

const { HOLDFAST_URL = 'http://127.0.0.1:8080', HOLDFAST_KEY } = process.env;
const [, , file] = process.argv;
const headers = { 'X-Api-Key': HOLDFAST_KEY };
const SILENCE_MS = 45_000; // the service sends a keepalive every 15 s

/** What to do with an event; here, it is printed. */
async function handle(type, data) {
  if (type === 'RESET_CURSOR') {
    // What came before is not kept any more: read the present state instead of the missing changes.
    const listing = await fetch(`${HOLDFAST_URL}/api/v1/Reservation/activeReservations`, { headers });
    console.log(JSON.stringify({ type, active: (await listing.json()).reservations.length }));
    return;
  }
  console.log(JSON.stringify({ type, resource: data.resource, requester: data.requester, id: data.id }));
}

let lastId = read();
let retryMs = 2_000;

function read() {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return ''; // the first start: from now on
  }
}

function remember(id) {
  lastId = id;
  // Written beside and renamed, so that a crash leaves the old id or the new one, never half of one.
  writeFileSync(`${file}.new`, id);
  renameSync(`${file}.new`, file);
}

/** Takes one block of lines, which an empty line ended. */
async function take(lines) {
  let type = 'message';
  let id = null;
  const data = [];
  for (const line of lines) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === 'event') type = value;
    if (field === 'data') data.push(value);
    if (field === 'id') id = value;
    if (field === 'retry') retryMs = Number(value);
  }
  // `connected` has no id and no event type; a block with an id alone says how far the stream is.
  if (data.length > 0 && type !== 'message') await handle(type, JSON.parse(data.join('\n')));
  if (id !== null) remember(id);
}

async function follow() {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  const resume = lastId === '' ? {} : { 'Last-Event-ID': lastId };
  try {
    const stream = await fetch(`${HOLDFAST_URL}/api/v1/events`, { headers: { ...headers, ...resume }, signal: silence.signal });
    if (stream.status === 401 || stream.status === 403) {
      console.error(`follow.mjs: ${stream.status}: ${await stream.text()}`);
      process.exit(1); // no use in asking again
    }
    if (stream.status !== 200) return;
    let rest = '';
    let block = [];
    for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const lines = (rest + piece).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line !== '') {
          block.push(line);
        } else {
          await take(block);
          block = [];
        }
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

for (;;) {
  await follow().catch((error) => console.error(`follow.mjs: ${error.message}; trying again`));
  // Between half and the whole of it, so that many readers do not come back at the same moment.
  await new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random() / 2)));
}
