#!lua flags=allow-oom
-- issuer_drop: a tenant gives up a pair of issuer and audience, if it has it.
--
-- keys
--   1 issuer    string  the directory: which tenant a pair of issuer and audience belongs to
-- args
--   1 tenant
-- returns       OK, now_us
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return cmsgpack.pack({ 'OK', now_us })
