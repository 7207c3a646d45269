#!lua
-- issuer_claim: a tenant takes a pair of issuer and audience, unless it is another's.
--
-- keys
--   1 issuer    string  the directory: which tenant a pair of issuer and audience belongs to
-- args
--   1 tenant
--   2 the tenant that has it wrongly, because it has no such issuer any more, or empty
-- returns       OK, now_us, 0 | TAKEN, now_us, 0, by which tenant
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local present = redis.call('GET', KEYS[1])
if present and present ~= ARGV[1] and present ~= ARGV[2] then
  return cmsgpack.pack({ 'TAKEN', now_us, 0, present })
end
redis.call('SET', KEYS[1], ARGV[1])
return cmsgpack.pack({ 'OK', now_us, 0 })
