-- session_create: somebody signs in with an API key.
--
-- function  session_create
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 sessions     zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor; the caller is an API key
--   3 hash         of the session's text
--   4 idle         for how long it lasts without being used, ms
--   5 longest      for how long it lasts at most, ms
--   6 most         sessions of a tenant: beyond it the one that would end first ends now
-- returns       OK, now_us, position | STALE, RATE as reserve
-- cost          O(log sessions)
function session_create(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local hash, idle_ms, last_ms = args[3], tonumber(args[4]), now_ms + args[5]
  sessions.tidy(keys[2])
  if call('ZCARD', keys[2]) >= tonumber(args[6]) then
    sessions.remove(keys[2], call('ZRANGE', keys[2], '0', '0'))
  end
  local ends_ms = min(now_ms + idle_ms, last_ms)
  call('HSET', META, 's:' .. hash, pack(ends_ms, last_ms, sub(caller.credential, 3), idle_ms))
  call('ZADD', keys[2], digits(ends_ms), hash)
  return close_call('OK')
end
