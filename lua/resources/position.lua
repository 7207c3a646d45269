-- position: the tenant's latest position, for a caller whose credential still holds.
--
-- function  position_of
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
-- returns       OK, now_us, position | STALE, RATE as reserve
-- cost          O(1)
function position_of(keys, args)
  return begin_call(keys, args) or close_call('OK')
end
