import * as calls from "./calls.js";
import { ApiError, LeaseLostError } from "./errors.js";
import { type Transport, listOf, within } from "./transport.js";
import type { ReleaseItem, RenewResult } from "./types.js";
import type { Times } from "./wish.js";

/** Everything is held for the whole time to live from `sent` on. */
export interface Renewed {
  readonly sent: number;
  readonly results: readonly RenewResult[];
}

/**
 * Renews once; all attempts end within the timeout, that of the times without it.
 *
 * @throws {@link LeaseLostError} Something is not held any more.
 * @throws {@link HoldfastError} The service did not answer, or refused for a reason that is no loss: the lease goes on
 * until its deadline.
 */
export async function renewOnce(
  transport: Transport,
  items: readonly ReleaseItem[],
  times: Times,
  signal?: AbortSignal,
  timeoutMs: number = times.renewalTimeoutMs,
): Promise<Renewed> {
  const resources = items.map((item) => item.resource);
  try {
    const reply = await transport.call(within(calls.renew(items, times.ttl), timeoutMs), signal);
    const results = listOf<RenewResult>(reply, "status", items.length);
    const lost = results.find((result) => result.status !== "RENEWED");
    if (lost === undefined) return { sent: reply.sent, results };
    const why = lost.status === "NOT_RESERVED" ? "was ended by somebody else, or has expired" : lost.explanation;
    throw new LeaseLostError(resources, `${lost.resource} ${why}`);
  } catch (error) {
    if (error instanceof ApiError && error.code === "INVALID_RELEASE_TOKEN") {
      throw new LeaseLostError(resources, "it was reserved anew under the same requester", { cause: error });
    }
    throw error;
  }
}
