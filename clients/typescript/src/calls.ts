import type { Call } from "./transport.js";
import type { ReleaseItem, ReserveItem, Transaction } from "./types.js";

const RESERVATION = "/api/v1/Reservation";

export const paths = {
  active: `${RESERVATION}/activeReservations`,
  waiting: `${RESERVATION}/waiting`,
  resources: "/api/v1/Resource",
  events: "/api/v1/events",
} as const;

/** A call of the reservations' part of the API with a body. */
export function post(name: string, body: unknown): Call {
  return { method: "POST", path: `${RESERVATION}/${name}`, body };
}

export function reserve(items: readonly ReserveItem[]): Call {
  return post("reserve", items);
}

export function transact(transactions: readonly Transaction[]): Call {
  const bodies = transactions.map((one) =>
    one.requestType === "UNRESERVE" ? { ...one, requests: one.requests.map(proof) } : one,
  );
  return post("transactions", bodies);
}

export function unreserve(items: readonly ReleaseItem[]): Call {
  return post("unreserve", items.map(proof));
}

export function renew(items: readonly ReleaseItem[], ttlSeconds: number): Call {
  return post(
    "renew",
    items.map((item) => ({ ...proof(item), ttlSeconds })),
  );
}

export function ticket(name: string): Call {
  return { method: "GET", path: `${RESERVATION}/tickets/${encodeURIComponent(name)}` };
}

export function cancel(name: string): Call {
  return { method: "DELETE", path: `${RESERVATION}/tickets/${encodeURIComponent(name)}` };
}

/** How a holder names and proves a reservation: of a result of reserve, no more than that. */
function proof({ requester, resource, releaseToken }: ReleaseItem): ReleaseItem {
  return { requester, resource, releaseToken };
}
