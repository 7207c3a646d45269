// An event as a line that a person reads: what happened, to what, for whom.

const TITLES = {
  RESERVED: { title: 'reserved', tone: 'good' },
  UNRESERVED: { title: 'released', tone: 'calm' },
  RENEWED: { title: 'renewed', tone: 'good' },
  RESERVATION_EXPIRED: { title: 'expired', tone: 'warn' },
  RESERVE_FAILED: { title: 'reserve refused', tone: 'bad' },
  UNRESERVE_FAILED: { title: 'release refused', tone: 'bad' },
  TRANSACTION_APPLIED: { title: 'transaction', tone: 'good' },
  TRANSACTION_ROLLED_BACK: { title: 'rolled back', tone: 'bad' },
  TIER_LIMIT_REACHED: { title: 'limit reached', tone: 'bad' },
  RESET: { title: 'reset', tone: 'warn' },
  RESET_CURSOR: { title: 'list read again', tone: 'warn' },
};
const WHY_RELEASED = { EXPIRED: 'its time was up', FORCE_RELEASED: 'by force' };
const MOST_NAMES = 3; // of a transaction's resources; its title tells the rest
const LONGEST_PAYLOAD = 160; // characters of a platform event

/**
 * @param {object} event as the stream gave it
 * @returns {{title: string, tone: string, subject: string, requester: string, detail: string}} other people's text in all but the first two
 */
export function describe(event) {
  const known = TITLES[event.type];
  if (!known) return platformEvent(event);
  return {
    ...known,
    subject: event.changes ? names(event.changes) : (event.resource ?? ''),
    requester: event.requester ?? '',
    detail: detailOf(event),
  };
}

/** Whether the filter's text occurs in a resource or requester of the event. */
export function concerns(event, needle) {
  const about = [event, ...(event.changes ?? [])];
  return about.some(({ resource, requester }) => contains(resource, needle) || contains(requester, needle));
}

export function contains(text, needle) {
  return typeof text === 'string' && text.toLowerCase().includes(needle);
}

function detailOf(event) {
  switch (event.type) {
    case 'TRANSACTION_APPLIED':
    case 'TRANSACTION_ROLLED_BACK':
      return [event.method, event.requestType, event.reason].filter(Boolean).join(' · ');
    case 'TIER_LIMIT_REACHED':
      return event.reason ?? `${event.limitType}: ${event.limit}`;
    case 'RESET':
      return event.reason ?? 'Every reservation was released.';
    case 'RESET_CURSOR':
      return 'The server could not tell everything that happened meanwhile.';
    case 'UNRESERVED':
      return event.reason ?? WHY_RELEASED[event.explanation] ?? '';
    case 'RESERVED':
    case 'RENEWED':
    case 'RESERVATION_EXPIRED':
      return event.reason ?? '';
    default:
      return event.reason ?? event.explanation ?? '';
  }
}

function names(changes) {
  const all = [...new Set(changes.map((change) => change.resource))];
  const more = all.length - MOST_NAMES;
  return all.slice(0, MOST_NAMES).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

/** A type of the tenant's own, such as `trade`: its payload, shortened. */
function platformEvent(event) {
  const payload = event.unreadable ?? JSON.stringify(event.data ?? null);
  const detail = payload.length > LONGEST_PAYLOAD ? `${payload.slice(0, LONGEST_PAYLOAD)}…` : payload;
  return { title: event.type, tone: 'plain', subject: event.companyId ?? '', requester: '', detail };
}
