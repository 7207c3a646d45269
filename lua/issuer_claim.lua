#!lua
-- issuer_claim: a tenant takes a pair of issuer and audience, unless it is another's.
--
-- keys
--   1 issuer    string  the directory: "tenant ms", which tenant a pair of issuer and audience belongs to, and since when
-- args
--   1 tenant
--   2 the tenant that has it wrongly, because it has no such issuer any more, or empty
-- returns       OK, now_us, 0 | TAKEN, now_us, 0, by which tenant
-- cost          O(1)
-- invariants    a claim that is younger than a minute is never taken over: its tenant's state may be about to be written
local FRESH_MS = 60000
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local present = redis.call('GET', KEYS[1])
if present then
  local holder, since_ms = string.match(present, '^(%S+) (%d+)$')
  local wrong = holder == ARGV[2] and now_ms - since_ms > FRESH_MS
  if holder ~= ARGV[1] and not wrong then
    return cmsgpack.pack({ 'TAKEN', now_us, 0, holder })
  end
end
redis.call('SET', KEYS[1], string.format('%s %d', ARGV[1], now_ms))
return cmsgpack.pack({ 'OK', now_us, 0 })
