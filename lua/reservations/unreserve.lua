-- unreserve: give back what the caller proves it holds: plain names, slots by their own or their pool's name, what has blockers.
--
-- function  unreserve
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, number of items, then columns: names, tokens (zero when the caller sent none), requesters
-- returns       OK, now_us, position, then per item: true: relinquished, and it stood alone | R, array of released names: relinquished
--               | NOT_RESERVED | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
--               | TOO_MUCH_WORK, AGAIN, STALE, RATE as reserve
-- cost          O(items * (depth + blocks) * log held)
-- invariants    one wrong token and nothing is freed; only the holder's own token frees
function unreserve(keys, args)
  local packed = args[2]
  local _, cost, floor_at, count, name, token, who = unpack_limit(packed, 6, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at)
  if refusal then
    return refusal
  end
  local straight, found
  if count == 1 then
    straight, found = release_straight(name, token, who)
    if straight then
      return straight
    end
  end
  refusal = plan.prepare()
  if refusal then
    return refusal
  end
  if count == 1 then
    look(name, found)
    return calls.finish(calls.one('UNRESERVE', name, token, who), 1, 'UNRESERVE')
  end
  local at = unpack_limit(packed, 3, 0)
  return calls.finish(calls.unreserve(packed, at, count), count, 'UNRESERVE')
end
