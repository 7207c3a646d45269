// Checks of the page's parts that draw nothing, made inside the browser with the very files that the server serves.

import assert from 'node:assert/strict';

/** However the stream is cut into pieces, and however its lines end, the same events come out. */
export async function theStreamParserReadsEveryLineEndAtEveryCut(page) {
  const faults = await page.evaluate(async () => {
    const { EventStreamParser } = await import('/dashboard/sse.js');
    const lines = [
      'retry: 1500', '', ': keepalive', 'id: 7', '', 'id: 8', 'event: RESERVED', 'data: {"resource":"ä"}', '',
      'data:one', 'data: two', 'data', '', 'event: EMPTY', '', 'id: a\0b', 'retry: soon', 'unknown: x', 'data:  spaced', '', 'data: cut short',
    ];
    const expected = JSON.stringify({
      events: [
        { type: 'RESERVED', text: '{"resource":"ä"}' },
        { type: 'message', text: 'one\ntwo\n' },
        { type: 'message', text: ' spaced' },
      ],
      lastEventId: '8',
      retryMs: 1500,
    });
    const read = (pieces) => {
      const parser = new EventStreamParser();
      const events = pieces.flatMap((piece) => parser.push(piece));
      return JSON.stringify({ events, lastEventId: parser.lastEventId, retryMs: parser.retryMs });
    };
    const wrong = [];
    for (const [name, lineEnd] of Object.entries({ LF: '\n', CR: '\r', CRLF: '\r\n' })) {
      const whole = lines.join(lineEnd);
      if (read([...whole]) !== expected) wrong.push(`${name}, one character at a time: ${read([...whole])}`);
      for (let cut = 0; cut <= whole.length; cut++) {
        const got = read([whole.slice(0, cut), '', whole.slice(cut)]);
        if (got !== expected) wrong.push(`${name}, cut at ${cut}: ${got}`);
      }
    }
    return wrong;
  });
  assert.deepEqual(faults, []);
}

/** The board keeps to positions: a late word about an earlier grant never touches a later one. */
export async function theBoardLetsTheGreaterFenceWin(page) {
  const seen = await page.evaluate(async () => {
    const { Board } = await import('/dashboard/board.js');
    const board = new Board();
    const now = () => Object.fromEntries([...board.rows()].map((row) => [row.resource, row.requester]));
    const steps = [];
    const step = (event) => {
      if (event) board.apply(event);
      steps.push(now());
    };
    board.replace([{ resource: 'a', requester: 'ada', fencingToken: 10, expiresAt: null, blockers: null, blockerOf: null }], 12);
    step({ type: 'UNRESERVED', id: '11', resource: 'a', fencingToken: 10 }); // told in the list already
    step({ type: 'UNRESERVED', id: '13', resource: 'a', fencingToken: 9 }); // an earlier holder's end
    step({ type: 'RESERVED', id: '14', resource: 'a', requester: 'bob', fencingToken: 14, expiresAt: null });
    step({ type: 'RESERVE_FAILED', id: null, resource: 'a', requester: 'eve' });
    step({ type: 'TRANSACTION_APPLIED', id: '15', requester: 'cy', changes: [
      { resource: 'b', requester: 'cy', requestType: 'RESERVE', explanation: 'ACQUIRED', fencingToken: 15, expiresAt: null },
      { resource: 'c', requester: 'cy', requestType: 'RESERVE', explanation: 'ALREADY_HELD', fencingToken: null, expiresAt: null },
    ] });
    step({ type: 'RESERVATION_EXPIRED', id: '16', resource: 'a', fencingToken: 14 });
    step({ type: 'RESERVED', id: '17', resource: 'd', requester: 'dan', fencingToken: 17, expiresAt: null, blockers: ['e'] });
    step({ type: 'UNRESERVED', id: '18', resource: 'd', fencingToken: 17, blockers: ['e'] }); // its blocker goes with it
    step({ type: 'RESET', id: '19' });
    return steps;
  });
  assert.deepEqual(seen, [
    { a: 'ada' },
    { a: 'ada' },
    { a: 'bob' },
    { a: 'bob' },
    { a: 'bob', b: 'cy' },
    { b: 'cy' },
    { b: 'cy', d: 'dan', e: 'dan' },
    { b: 'cy' },
    {},
  ]);
}
