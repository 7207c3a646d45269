/**
 * Client of Holdfast: named things reserved over HTTP, waited for in a fair queue, held with a fencing token, seen as
 * events.
 *
 * @packageDocumentation
 */
export { Client, type CallOptions } from "./client.js";
export {
  ApiError,
  DeadlockError,
  type ErrorCode,
  type ErrorDetail,
  HoldfastError,
  LeaseLostError,
  NotAcquiredError,
  OutcomeUnknownError,
  UnexpectedAnswerError,
  UnreachableError,
  WaitTimeoutError,
} from "./errors.js";
export { type EventOptions, EventStream } from "./events.js";
export { Lease } from "./lease.js";
export type { ClientOptions } from "./transport.js";
export type * from "./types.js";
export type { HoldOptions, Waiting } from "./wish.js";
