-- renew: move the deadline of what the caller proves it holds, and with it its blockers'.
--
-- function  renew
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, number of items, then columns: names, tokens (zero when the caller sent none), requesters, times to live
-- returns       OK, now_us, position, then per item: fence, deadline_ms, how many tickets want it: renewed | NOT_RESERVED | DOESNT_OWN_RESERVATION, holder, deadline_ms or
--               false
--               | BAD_TOKEN as unreserve | TTL, TOO_MUCH_WORK, AGAIN, STALE, RATE as reserve
-- cost          O(items * blocks * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
function renew(keys, args)
  local packed = args[2]
  local at, cost, floor_at, count, name, token, who, ttl_ms = unpack_limit(packed, 7, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  if count == 1 then
    return calls.finish(calls.one('RENEW', name, token, who, ttl_ms), 1, 'RENEW')
  end
  at = unpack_limit(packed, 3, 0)
  return calls.finish(calls.renew(packed, at, count), count, 'RENEW')
end
