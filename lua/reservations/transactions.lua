-- transactions: groups of reserves and releases, each group atomic; the call is planned to its end before anything is written.
--
-- function  transactions
-- flags
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, number of transactions, then per transaction: method (ALL_OR_NONE, AS_MANY_AS_POSSIBLE, FIRST), request type
--                  (RESERVE, UNRESERVE), number of items, quantities, how it waits or false, then the columns of reserve or unreserve
-- returns       OK, now_us, position, then per transaction: APPLIED or ROLLED_BACK, or W or D as reserve answers them, then per item as reserve or
--               unreserve answer it, or SKIPPED, or ROLLED_BACK
--               | BAD_TOKEN as unreserve, over all items in order | LIMIT, TTL, TOO_MUCH_WORK, AGAIN, STALE, RATE as reserve
-- cost          O(items * (depth + blocks) * log held)
-- invariants    a bad token or a passed limit anywhere refuses the call, and nothing changes; a reader never sees half a group
function transactions(keys, args)
  local packed = args[2]
  local at, cost, floor_at = unpack_limit(packed, 2, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at)
  if refusal then
    return refusal
  end
  local straight_answer = transact_straight(packed, at)
  if straight_answer then
    return straight_answer
  end
  refusal = plan.prepare()
  if refusal then
    return refusal
  end
  return calls.finish(plan_transactions(packed, at))
end
