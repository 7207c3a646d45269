-- connection_list: a tenant's connections, each with how its watch goes.
--
-- function  connection_list
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 connections  hash    connection -> packed connection
--   3 watches      hash    connection -> packed watch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3? cursor      of the piece before, absent to begin
-- returns       OK, now_us, position, then connection, packed connection, packed watch or false ...
--               | MORE, now_us, position, next cursor, then the same: ask on with it; one may come twice | STALE, RATE as reserve
-- cost          O(connections), bounded
function connection_list(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  return close_pages(keys[2], args[3], function(id, packed)
    return pack(id, packed, call('HGET', keys[3], id))
  end)
end
