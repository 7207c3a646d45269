#!lua flags=allow-oom
-- issuer_drop: a tenant gives up a pair of issuer and audience, if it has it.
--
-- keys
--   1 issuer    string  the directory: "tenant ms", which tenant a pair of issuer and audience belongs to, and since when
-- args
--   1 tenant
-- returns       OK, now_us
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local present = redis.call('GET', KEYS[1])
if present and string.match(present, '^%S+') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return cmsgpack.pack({ 'OK', now_us })
