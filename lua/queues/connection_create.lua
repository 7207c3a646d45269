-- connection_create: a tenant gets one more connection of the queue monitor, with the key for pushing its events.
--
-- function  connection_create
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 connections  hash    connection -> packed connection
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 connection
--   4 hash         of its ingest key
--   5 name
--   6 framework
--   7 address      of its broker, encrypted, or empty
--   8 options      JSON
--   9 most         connections that the tenant may have, 0: no limit
-- returns       OK, now_us, position, created_ms | LIMIT, now_us, position, limit type, limit, connections, false | STALE, RATE as reserve
-- cost          O(1)
function connection_create(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local _, _, id, hash, name, framework, address, options, most = unpack(args)
  local count, limit = call('HLEN', keys[2]), tonumber(most)
  if limit > 0 and count >= limit then
    return over_limit('Connections', limit, count, false)
  end
  call('HSET', META, 'q:' .. hash, id)
  call('HSET', keys[2], id, pack(hash, name, framework, now_ms, address ~= '' and address, options))
  return close_call('OK', now_ms)
end
