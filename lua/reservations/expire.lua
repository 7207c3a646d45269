-- expire: the sweep's turn at one tenant: end what has lapsed, a bounded number.
--
-- function  expire
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
-- returns       OK, now_us, position | AGAIN, now_us, position when there is more | STALE, now_us when the tenant is gone
-- cost          O(lapsed * log held), bounded
-- invariants    safe on every replica at once: whoever comes second finds nothing
function expire(keys, args)
  local _, cost, floor_at = unpack_limit(args[2], 2, 0)
  return plan.begin(keys, args[1], cost, floor_at) or plan.prepare() or plan.finish()
end
