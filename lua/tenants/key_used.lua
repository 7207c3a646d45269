-- key_used: notes that an API key was used. Coarse: each replica notes it about once a minute.
--
-- function  key_used
-- flags
-- keys
--   1 meta         hash    credentials
--   2 used         hash    key id -> when it was last used, ms since epoch
-- args
--   1 credential   a field of meta: the key's own, or that of a session of the key
--   2 key id
-- returns       OK, now_us, 0 | STALE, now_us, 0 when the credential is gone: nothing is written for what nobody would remove again
-- cost          O(1)
function key_used(keys, args)
  read_clock()
  if call('HEXISTS', keys[1], args[1]) == 0 then
    return outcome('STALE')
  end
  call('HSET', keys[2], args[2], digits(now_ms))
  return outcome('OK')
end
