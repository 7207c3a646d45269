-- stored_bytes: how much memory everything of a tenant takes, as Redis estimates it; a refusal where that is more than its tier allows.
--
-- function  stored_bytes
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2..            every other key of the tenant
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 most         bytes that the tenant may store, 0: no limit
-- returns       OK, now_us, position, bytes | LIMIT, now_us, position, limit type, limit, bytes, false | STALE, RATE as reserve
-- cost          O(keys): five samples of each
function stored_bytes(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local most, bytes = tonumber(args[3]), 0
  for n = 1, #keys do
    bytes = bytes + (call('MEMORY', 'USAGE', keys[n]) or 0)
  end
  if most > 0 and bytes > most then
    return over_limit('StoredBytes', most, bytes, false)
  end
  return close_call('OK', bytes)
end
