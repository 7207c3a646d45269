// What every reader of these tests listens to.

const say = (seen) => console.log(JSON.stringify(seen));

export function listen(es) {
  es.onopen = () => say({ open: true });
  es.onmessage = (e) => say({ message: JSON.parse(e.data) });
  for (const type of ['RESERVED', 'UNRESERVED', 'trade', 'RESET_CURSOR']) {
    es.addEventListener(type, (e) => say({ type, event: JSON.parse(e.data), id: e.lastEventId }));
  }
  es.onerror = () => say({ error: true }); // it reconnects by itself
  setInterval(() => {}, 60_000); // the present eventsource does not keep a process alive while it waits to come back
}
