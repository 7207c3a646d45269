// What can go wrong with a call, in words for the person in front of the page.
//
// The messages of the API are written for programs: they name headers and fields. Here each code gets a sentence that says
// what it means for what the person just did.

import type { ErrorBody, ErrorCode } from './types';

/** No answer, or only part of one: the network, the server or our patience ended it. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super('The server cannot be reached. Your network or the server may be down.', { cause });
  }
}

/** The server answered, and the answer is no. `message` is for people. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: ErrorCode | null;
  readonly body: ErrorBody | null;
  readonly retryAfterMs: number;

  constructor(status: number, body: ErrorBody | null, retryAfterMs: number) {
    super(sentence(status, body, retryAfterMs));
    this.status = status;
    this.code = body?.error.code ?? null;
    this.body = body;
    this.retryAfterMs = retryAfterMs;
  }

  /** The faults of what was sent, by field: `[0].ttlSeconds`. */
  get faults(): { path: string; message: string }[] {
    return this.body?.error.details ?? [];
  }
}

/** Any error as a sentence; one that is a fault of this page is said to be one. */
export function inWords(error: unknown): string {
  if (error instanceof Refusal || error instanceof Unreachable) return error.message;
  return `This page has a fault: ${error instanceof Error ? error.message : String(error)}`;
}

export async function refusalOf(response: Response): Promise<Refusal> {
  const seconds = Number(response.headers.get('Retry-After'));
  let body: ErrorBody | null = null;
  try {
    const read: unknown = await response.json();
    if (read !== null && typeof read === 'object' && 'error' in read) body = read as ErrorBody;
  } catch {
    // Not our body: a proxy in between answered. Its status is all there is to tell.
  }
  return new Refusal(response.status, body, seconds > 0 ? seconds * 1000 : 0);
}

function sentence(status: number, body: ErrorBody | null, retryAfterMs: number): string {
  const code = body?.error.code;
  switch (code) {
    case undefined:
      return `The server answered with status ${status}, which did not come from Holdfast. A proxy in between may be at fault.`;
    case 'VALIDATION_ERROR':
      return body?.error.details.length
        ? body.error.details.map((fault) => `${fault.path}: ${fault.message}`.replace(/^: /, '')).join('; ')
        : upperFirst(body?.error.message ?? 'What was sent is not valid.');
    case 'UNAUTHORIZED':
      return 'This key is not known here. It may be mistyped, revoked or expired.';
    case 'INVALID_RELEASE_TOKEN':
      return 'The release token is wrong. Nothing was changed.';
    case 'FORBIDDEN':
      return body?.upgradeRequired ? upperFirst(body.error.message) : 'The key that you signed in with may not do this.';
    case 'NOT_FOUND':
      return 'It does not exist any more.';
    case 'CONFLICT':
      return upperFirst(body?.error.message ?? 'Something else is in the way.');
    case 'TOO_MUCH_WORK':
      return 'This is too much at once. Nothing was changed; do it in smaller parts.';
    case 'RATE_LIMITED':
      return limitReached(body, retryAfterMs);
    case 'UNAVAILABLE':
      return 'Redis is away, so nothing can be decided now. Nothing was changed; try again when it is back.';
    case 'OUTCOME_UNKNOWN':
      return 'Redis did not answer in time. It may or may not have been done: look, and do it again if it was not.';
    case 'PAYLOAD_TOO_LARGE':
      return 'What was sent is too large.';
    default:
      return upperFirst(body?.error.message ?? `The server answered with status ${status}.`);
  }
}

const LIMITS: Partial<Record<string, string>> = {
  RequestRate: 'calls per second',
  ConcurrentReservations: 'reservations held at once',
  WaitingTickets: 'tickets waiting at once',
  SseConnections: 'event streams',
  ApiKeys: 'API keys',
  Resources: 'registered resources',
  Companies: 'companies',
  Connections: 'connections of the queue monitor',
  EventsPerDay: 'queue events per day',
  StoredBytes: 'stored bytes',
};

function limitReached(body: ErrorBody | null, retryAfterMs: number): string {
  const what = LIMITS[body?.limitType ?? ''] ?? 'this';
  const most = body?.limit == null ? '' : ` (${body.limit.toLocaleString()})`;
  const when = retryAfterMs > 0 ? ` Try again in ${Math.ceil(retryAfterMs / 1000)} s.` : '';
  return `The tenant's limit of ${what}${most} is reached.${when}`;
}

/** A limit's name as people say it. */
export function limitInWords(limitType: string): string {
  return LIMITS[limitType] ?? limitType;
}

function upperFirst(text: string): string {
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
