-- key_create: a tenant gets one more API key.
--
-- function  key_create
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 keys         hash    key id -> packed key
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 key id
--   4 key hash
--   5 label
--   6 scopes       comma-separated
--   7 most         keys that the tenant may have, 0: no limit
-- returns       OK, now_us, position, created_ms | LIMIT, now_us, position, limit type, limit, keys, false | STALE, RATE as reserve
-- cost          O(1)
function key_create(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local _, _, id, hash, label, scopes, most = unpack(args)
  local count, limit = call('HLEN', keys[2]), tonumber(most)
  if limit > 0 and count >= limit then
    return over_limit('ApiKeys', limit, count, false)
  end
  call('HSET', META, 'k:' .. hash, id)
  call('HSET', keys[2], id, pack(hash, label, scopes, now_ms))
  return close_call('OK', now_ms)
end
