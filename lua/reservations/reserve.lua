-- reserve: take free resources, each on its own, or say who has them: plain names, slots, places in a tree, what takes blockers along.
--
-- function  reserve
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 held         hash    resource -> packed reservation; of pools: who holds which slot, how many are held
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      list    the kept events
--   5 due          zset    tenant -> a lower bound of its earliest deadline (the partition's)
--   6 definitions? hash    resource -> packed definition
--   7 index?       zset    what is held of pools, below places of the tree, by whom a blocker is used
--   8 slots?       string  bitmap: which slots of pools are held
--   9 lines?       zset    who waits for what, in order; these three are named where somebody waits
--   10 tickets?    hash    ticket -> packed ticket
--   11 ticket_ends? zset   ticket -> when it is looked after next, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, number of items, quantities (false, or an array of item and quantity in turn), waits (false, or arrays of
--                  item and how it waits, see wait.lua), then columns (see items.lua): names, tokens to give, tails, times to live
-- returns       OK, now_us, position, then per item: fence, deadline_ms or false, now_ms: acquired, and it stands alone | A, fence, deadline_ms or
--               false, now_ms, place, physical name: acquired | H, packed reservation, physical name: ALREADY_HAD | status, kind of what is in
--               the way, its name, holder or false, deadline_ms or false, the holder's note or false, how many wait for it: it is refused | W,
--               ticket, place, wait ends ms, expected ms or false, requester of who is next or false, then as refused: it waits
--               | D, array of requesters: they would wait for each other
--               | LIMIT, now_us, position, limit type, limit, held, earliest deadline_ms or false | TTL, now_us, position, greatest ttl in ms
--               | TOO_MUCH_WORK, now_us, position | AGAIN, now_us, position | STALE, now_us, 0 | KEYS: name those of tickets, too | RATE, now_us, position, rate, wait_us
-- cost          O(items * (depth + blocks) * log held)
-- invariants    beyond the held limit nothing is taken; what is held is never taken by another before its deadline
function reserve(keys, args)
  local packed = args[2]
  local at, cost, floor_at, count, quantities, waits, name, token, tail, ttl_ms = unpack_limit(packed, 9, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at, waits)
  if refusal then
    return refusal
  end
  if count == 1 and not quantities and not waits then
    local straight = take_straight(name, token, tail, ttl_ms)
    if straight then
      return straight
    end
  end
  refusal = plan.prepare()
  if refusal then
    return refusal
  end
  if count == 1 and not quantities and not waits then
    return calls.finish(calls.one('RESERVE', name, token, tail, ttl_ms), 1, 'RESERVE')
  end
  at = unpack_limit(packed, 5, 0)
  return calls.finish(calls.reserve(packed, at, count, quantities, waits), count, 'RESERVE')
end
