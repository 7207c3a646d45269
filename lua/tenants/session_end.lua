-- session_end: somebody signs out; the session is refused from here on, and its streams are notified.
--
-- function  session_end
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 sessions     zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor; the caller is the session
-- returns       OK, now_us, position | STALE, RATE as reserve
-- cost          O(log sessions)
function session_end(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  sessions.remove(keys[2], { sub(caller.credential, 3) })
  return close_call('OK')
end
