/**
 * The bodies of the API's calls, as they go over the wire. Times are ISO 8601 texts in UTC, durations whole seconds. A
 * later version of the service may add fields.
 */

export type ReserveStatus =
  | "ACQUIRED"
  | "ALREADY_HAD"
  | "ALREADY_HELD"
  | "NOT_AVAILABLE"
  | "NOT_VALID"
  | "WAITING"
  | "WOULD_DEADLOCK"
  | "SKIPPED"
  | "ROLLED_BACK";
export type ReleaseStatus = "RELINQUISHED" | "NOT_RESERVED" | "DOESNT_OWN_RESERVATION" | "SKIPPED" | "ROLLED_BACK";
export type RenewStatus = "RENEWED" | "NOT_RESERVED" | "DOESNT_OWN_RESERVATION";
export type TransactionMethod = "ALL_OR_NONE" | "AS_MANY_AS_POSSIBLE" | "FIRST";
export type TransactionStatus = "APPLIED" | "ROLLED_BACK" | "WAITING" | "WOULD_DEADLOCK";
export type TicketStatus = "WAITING" | "ACQUIRED" | "TIMED_OUT" | "CANCELLED" | "LAPSED";

/** How an item or a transaction waits for what cannot be had now. */
export interface WaitFields {
  /** Seconds to wait, 1 to 86,400; without it, it is refused. */
  readonly waitSeconds?: number;
  /** -1,000 to 1,000, greater is served first; 0 without it. */
  readonly priority?: number;
  /** Seconds for which the ticket lives while nobody asks for it, 5 to 3,600; 30 without it. */
  readonly keepAliveSeconds?: number;
}

/** One resource that one requester wants. */
export interface ReserveItem extends WaitFields {
  /** 1 to 1,024 bytes; it need not be registered. */
  readonly resource: string;
  /** Who wants it, unique per holder: 1 to 1,024 bytes. */
  readonly requester: string;
  /** Time to live; without it, it is held until it is released, or for the tenant's default. */
  readonly ttlSeconds?: number;
  readonly resourceType?: string;
  /** Shown wherever the holder is shown; at most 1,024 bytes. */
  readonly note?: string;
  /** Slots of a pool, all or none, under one token and fence. */
  readonly quantity?: number;
}

/** What became of one wanted resource. */
export interface ReserveResult {
  readonly resource: string;
  readonly requester: string;
  readonly status: ReserveStatus;
  /** The status word, or a sentence that a person can act on. */
  readonly explanation: string;
  /** Proves the holder at release and renewal. */
  readonly releaseToken: string | null;
  readonly expiresAt: string | null;
  /** Of a pool: its name and the slot that was taken; of several, the first. */
  readonly acquiredSlots: Readonly<Record<string, string>> | null;
  /** Of a pool: every slot that was taken. */
  readonly slots: readonly string[] | null;
  readonly acquiredBlockers: readonly string[] | null;
  readonly reservedAtPath: string | null;
  /** Grows with every grant of the tenant: let what you protect refuse a lower one than it has seen. */
  readonly fencingToken: number | null;
  readonly holder: string | null;
  readonly holderExpiresAt: string | null;
  /** Of `WAITING`. */
  readonly ticket: string | null;
  /** Of `WAITING`: 1 is next. */
  readonly place: number | null;
  readonly waitExpiresAt: string | null;
  /** Of `WAITING`: when it is served if every holder keeps it to the deadline; null where one has none. */
  readonly expectedBy: string | null;
}

/** A reservation, as its holder proves it: a {@link ReserveResult} that was acquired is one. */
export interface ReleaseItem {
  readonly resource: string;
  readonly requester: string;
  readonly releaseToken: string | null;
}

/** What became of one release. */
export interface ReleaseResult {
  readonly resource: string;
  readonly requester: string;
  readonly status: ReleaseStatus;
  readonly explanation: string;
  /** Every physical resource that was freed: slots, and blockers taken along. */
  readonly released: readonly string[];
}

/** What became of one renewal. */
export interface RenewResult {
  readonly resource: string;
  readonly requester: string;
  readonly status: RenewStatus;
  readonly explanation: string;
  readonly expiresAt: string | null;
  readonly fencingToken: number | null;
  /** How many tickets want it. */
  readonly waiting: number | null;
}

/** Several resources in one atomic step. */
export type Transaction =
  | ({
      readonly method: TransactionMethod;
      readonly requestType: "RESERVE";
      /** Without waiting of their own. */
      readonly requests: readonly Omit<ReserveItem, keyof WaitFields>[];
      /** While it waits, keep nothing of it for itself: others may pass until all of it is free at once. */
      readonly overtake?: boolean;
    } & WaitFields)
  | {
      readonly method: TransactionMethod;
      readonly requestType: "UNRESERVE";
      readonly requests: readonly ReleaseItem[];
    };

interface TransactionOutcome {
  readonly method: TransactionMethod;
  readonly status: TransactionStatus;
  readonly explanation: string;
  readonly ticket: string | null;
  readonly place: number | null;
  readonly waitExpiresAt: string | null;
  readonly expectedBy: string | null;
}

/** What became of one transaction: an item each; none while it waits. */
export type TransactionResult =
  | (TransactionOutcome & { readonly requestType: "RESERVE"; readonly results: readonly ReserveResult[] })
  | (TransactionOutcome & { readonly requestType: "UNRESERVE"; readonly results: readonly ReleaseResult[] });

/** Who holds a resource. */
export interface CheckResult {
  readonly resource: string;
  /** Held; of a pool: every slot is. */
  readonly isReserved: boolean;
  readonly holder: string | null;
  readonly expiresAt: string | null;
  /** Whether a stranger could take it now. */
  readonly isAvailable: boolean;
  readonly capacity: number;
  /** Slots that are free. */
  readonly available: number;
  readonly note: string | null;
  /** How many tickets want it. */
  readonly waiting: number | null;
}

/** A reservation, as the listing shows it: never with its release token. */
export interface ActiveReservation {
  readonly resource: string;
  readonly requester: string;
  readonly reservedAt: string;
  readonly expiresAt: string | null;
  readonly resourceType: string;
  readonly apiKeyLabel: string | null;
  readonly note: string | null;
  readonly pool: string | null;
  readonly reservedAtPath: string | null;
  readonly blockers: readonly string[] | null;
  readonly blockerOf: readonly string[] | null;
  readonly fencingToken: number;
}

/** A ticket in line, as the listing shows it. */
export interface WaitingTicket {
  readonly ticket: string;
  readonly requester: string;
  readonly resources: readonly string[];
  readonly method: TransactionMethod | null;
  readonly priority: number;
  readonly place: number;
  readonly since: string;
  readonly waitExpiresAt: string;
  readonly expectedBy: string | null;
  readonly note: string | null;
  readonly apiKeyLabel: string | null;
}

/** A ticket and what became of it. */
export interface Ticket {
  readonly ticket: string;
  readonly status: TicketStatus;
  readonly place: number | null;
  readonly expectedBy: string | null;
  readonly waitExpiresAt: string | null;
  readonly since: string;
  readonly waitedMs: number;
  readonly priority: number;
  readonly requester: string | null;
  readonly resources: readonly string[];
  /** What an item of reserve was served with, token included. */
  readonly reservation: ReserveResult | null;
  /** What a transaction was served with. */
  readonly transaction: TransactionResult | null;
}

/** A resource as it is registered. */
export interface Definition {
  readonly name: string;
  /** More than 1, the default: a pool of so many slots. */
  readonly capacity?: number;
  /** What is taken along with it. */
  readonly blocks?: readonly string[];
  /** What stands above it, from the root on, with `>` between. */
  readonly treePath?: string | null;
}

/** A registered resource. */
export interface Resource {
  readonly name: string;
  readonly capacity: number;
  /** Of a pool of up to 1,000. */
  readonly slots: readonly string[] | null;
  readonly blocks: readonly string[];
  readonly treePath: string | null;
  readonly ancestors: readonly string[];
}

/** The difference between definitions and what is registered. */
export interface Plan {
  readonly created: readonly Definition[];
  readonly changed: readonly { readonly from: Definition; readonly to: Definition }[];
  /** Children before their parents, as deleting needs it. */
  readonly deleted: readonly string[];
  readonly unchanged: number;
}

/** Whether a fencing token is the current grant's. */
export interface FenceResult {
  readonly valid: boolean;
  /** Null where it is free. */
  readonly currentFencingToken: number | null;
}

/** Rows of a listing, as of a position from which an event stream goes on without a hole. */
export interface Listing<Row> {
  readonly rows: readonly Row[];
  readonly asOf: number | null;
}

/** One page of a listing; its position is the first page's. */
export interface Page<Row> extends Listing<Row> {
  /** Null at the end. */
  readonly nextCursor: string | null;
}

/** An event of the tenant's own, to be published. */
export interface PlatformEventInput {
  /** `[a-z][a-z0-9._:-]{0,63}`. */
  readonly type: string;
  /** At most 16 KiB as JSON. */
  readonly data: unknown;
  readonly companyId?: string;
  readonly company?: string;
  readonly timestamp?: string;
  /** Published once within an hour, however often it is sent; one is made without it. */
  readonly dedupeId?: string;
}

// --- events

export type ReservationEventType =
  | "RESERVED"
  | "UNRESERVED"
  | "RENEWED"
  | "RESERVATION_EXPIRED"
  | "RESERVE_FAILED"
  | "UNRESERVE_FAILED"
  | "TRANSACTION_APPLIED"
  | "TRANSACTION_ROLLED_BACK"
  | "RESET"
  | "TIER_LIMIT_REACHED"
  | "WAITING"
  | "WAIT_ENDED";

/** One item of a transaction's event. */
export interface EventChange {
  readonly resource: string;
  readonly requester: string;
  readonly requestType: "RESERVE" | "UNRESERVE";
  readonly explanation: string;
  readonly fencingToken: number | null;
  readonly expiresAt: string | null;
  readonly pool: string | null;
}

/** The data of a reservation's event: every key is always there, null where it does not apply. */
export interface ReservationEventData {
  readonly id: string | null;
  readonly type: ReservationEventType;
  readonly tenantId: string;
  /** The physical name: of a pool, the slot's. */
  readonly resource: string | null;
  readonly requester: string | null;
  /** One word, such as `EXPIRED`. */
  readonly explanation: string | null;
  /** A sentence, where the word is not enough. */
  readonly reason: string | null;
  readonly resourceType: string | null;
  readonly apiKeyLabel: string | null;
  readonly requestType: "RESERVE" | "UNRESERVE" | "RENEW" | null;
  readonly timestamp: string;
  readonly method: TransactionMethod | null;
  /** Of a transaction: an item each. */
  readonly changes: readonly EventChange[] | null;
  readonly limitType: string | null;
  readonly limit: number | null;
  readonly fencingToken: number | null;
  readonly expiresAt: string | null;
  readonly pool: string | null;
  readonly slots: readonly string[] | null;
  readonly blockers: readonly string[] | null;
  readonly note: string | null;
  readonly ticket: string | null;
  readonly waitedMs: number | null;
  readonly place: number | null;
  readonly waitExpiresAt: string | null;
}

/** The data of an event of the tenant's own platform. */
export interface PlatformEventData {
  readonly id: string;
  readonly type: string;
  readonly companyId: string | null;
  readonly data: unknown;
  readonly timestamp: string;
}

/** One event of the stream; `kind` tells its data. */
export type HoldfastEvent =
  | {
      readonly kind: "reservation";
      readonly type: ReservationEventType;
      /** Where it stands in the tenant's order, and what another stream resumes from; null for what is live only. */
      readonly position: number | null;
      readonly data: ReservationEventData;
    }
  | {
      readonly kind: "platform";
      readonly type: string;
      readonly position: number | null;
      readonly data: PlatformEventData;
    }
  | {
      /** Events were missed, because the position was too old or unknown: read state anew, then go on with the stream. */
      readonly kind: "reset";
      readonly type: "RESET_CURSOR";
      readonly position: number | null;
      readonly data: { readonly reason: "unknown" | "too_old" | "lost"; readonly asOf: number };
    };
