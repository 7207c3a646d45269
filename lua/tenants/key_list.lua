-- key_list: the tenant's API keys, as far as they may be shown.
--
-- function  key_list
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 keys         hash    key id -> packed key
--   3 used         hash    key id -> when it was last used, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3? cursor      of the piece before, absent to begin
-- returns       OK, now_us, position, then key id, packed key, last used in ms or false ...
--               | MORE, now_us, position, next cursor, then the same: ask on with it; a key may come twice | STALE, RATE as reserve
-- cost          O(keys), bounded
function key_list(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  return close_pages(keys[2], args[3], function(id, packed)
    return pack(id, packed, tonumber(call('HGET', keys[3], id)) or false)
  end)
end
