import type { ReserveResult } from "./types.js";

/** The base of every error of this package. */
export class HoldfastError extends Error {
  override name = "HoldfastError";
}

/** The service was not reached: nothing changed. */
export class UnreachableError extends HoldfastError {
  override name = "UnreachableError";
}

/**
 * Sent, and no answer in time, also when asked again: whether the call was carried out is unknown. `cause` is the
 * service's own word (an {@link ApiError} with status 504) where it gave one. In a browser every failed connection is
 * one of these, for browsers do not say more.
 */
export class OutcomeUnknownError extends HoldfastError {
  override name = "OutcomeUnknownError";
}

/** The answer is not what the contract promises: another service answers there, or there is a bug. */
export class UnexpectedAnswerError extends HoldfastError {
  override name = "UnexpectedAnswerError";
}

/** The codes of {@link ApiError}. */
export type ErrorCode =
  | "VALIDATION_ERROR"
  | "UNAUTHORIZED"
  | "INVALID_RELEASE_TOKEN"
  | "FORBIDDEN"
  | "NOT_FOUND"
  | "METHOD_NOT_ALLOWED"
  | "REQUEST_TIMEOUT"
  | "CONFLICT"
  | "PAYLOAD_TOO_LARGE"
  | "UNSUPPORTED_MEDIA_TYPE"
  | "HEADERS_TOO_LARGE"
  | "TOO_MUCH_WORK"
  | "RATE_LIMITED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "OUTCOME_UNKNOWN";

/** One fault of a request. */
export interface ErrorDetail {
  /** Where, such as `[3].ttlSeconds`. */
  readonly path: string;
  readonly message: string;
}

/** The service refused the call: nothing changed. `code` tells programs why. */
export class ApiError extends HoldfastError {
  override name = "ApiError";
  /** The HTTP status, 400 or greater. */
  readonly status: number;
  /** The error's code; the status as a text where the body is not Holdfast's. */
  readonly code: ErrorCode | (string & {});
  /** Each fault of the request. */
  readonly details: readonly ErrorDetail[];
  /** Of `RATE_LIMITED`: which limit, such as `RequestRate`. */
  readonly limitType: string | null;
  readonly limit: number | null;
  readonly tier: string | null;
  /** Whether a higher tier allows more. */
  readonly upgradeRequired: boolean;
  /** How long the service asks to wait, in seconds. */
  readonly retryAfter: number | null;

  constructor(status: number, body: unknown, retryAfter: number | null) {
    const whole = asObject(body);
    const error = asObject(whole["error"]);
    const code = text(error["code"]) ?? String(status);
    const details = (Array.isArray(error["details"]) ? error["details"] : []).map((detail) => ({
      path: text(asObject(detail)["path"]) ?? "",
      message: text(asObject(detail)["message"]) ?? "",
    }));
    const message = (text(error["message"]) ?? `the service answered ${status}`).replace(/\.$/, "");
    const faults = details.map((detail) => `\n  ${detail.path} ${detail.message}`).join("");
    super(`${message} (${code})${faults}`);
    this.status = status;
    this.code = code;
    this.details = details;
    this.limitType = text(whole["limitType"]);
    this.limit = typeof whole["limit"] === "number" ? whole["limit"] : null;
    this.tier = text(whole["tier"]);
    this.upgradeRequired = whole["upgradeRequired"] === true;
    this.retryAfter = retryAfter;
  }

  /** Whether the same call may succeed later without a change on this side. */
  get isTemporary(): boolean {
    return this.status === 429 ? this.limitType === "RequestRate" : this.status >= 500;
  }
}

/** What was wanted is held by others, cannot be had at all, or is held by the same requester already. */
export class NotAcquiredError extends HoldfastError {
  override name = "NotAcquiredError";
  /** The last answer, an item per wanted resource; of a transaction that waited it may be empty. */
  readonly results: readonly ReserveResult[];

  constructor(message: string, results: readonly ReserveResult[]) {
    super(message);
    this.results = results;
  }
}

/** It was waited for in vain. */
export class WaitTimeoutError extends NotAcquiredError {
  override name = "WaitTimeoutError";
}

/** Waiting would close a circle of requesters who wait for each other; nothing is queued. */
export class DeadlockError extends NotAcquiredError {
  override name = "DeadlockError";
}

/** The lease was lost while it was needed: from here on somebody else may have it. */
export class LeaseLostError extends HoldfastError {
  override name = "LeaseLostError";
  readonly resources: readonly string[];
  /** How it was lost. */
  readonly reason: string;

  constructor(resources: readonly string[], reason: string, options?: ErrorOptions) {
    super(`the lease on ${resources.join(", ")} is lost: ${reason}`, options);
    this.resources = resources;
    this.reason = reason;
  }

  /** Whether an error is a loss, or the `SuppressedError` of a block that threw and whose lease was lost. */
  static in(error: unknown): boolean {
    return error instanceof LeaseLostError || asObject(error)["error"] instanceof LeaseLostError;
  }
}

/** Whether the same call may succeed later: the service is away, or asks for patience. */
export function isTemporary(error: unknown): boolean {
  return (
    error instanceof UnreachableError ||
    error instanceof OutcomeUnknownError ||
    (error instanceof ApiError && error.isTemporary)
  );
}

/** A value as an object; an empty one where it is none. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
