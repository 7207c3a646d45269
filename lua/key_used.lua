#!lua
-- key_used: notes that an API key was used. Coarse: each replica notes it about once a minute.
--
-- keys
--   1 meta      hash    credentials
--   2 used      hash    key id -> when it was last used, ms since epoch
-- args
--   1 credential, a field of meta: the key's own, or that of a session of the key
--   2 key id
-- returns       OK, now_us | STALE, now_us when the credential is gone: nothing is written for what nobody would remove again
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  return cmsgpack.pack({ 'STALE', now_us })
end
redis.call('HSET', KEYS[2], ARGV[2], string.format('%d', math.floor(now_us / 1000)))
return cmsgpack.pack({ 'OK', now_us })
