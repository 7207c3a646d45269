-- issuer_claim: a tenant takes a pair of issuer and audience, unless it is another's.
--
-- function  issuer_claim
-- flags
-- keys
--   1 issuer       string  the directory: "tenant ms", which tenant a pair of issuer and audience belongs to, and since when
-- args
--   1 tenant
--   2 wrong        tenant that has it wrongly, because it has no such issuer any more, or empty
-- returns       OK, now_us, 0 | TAKEN, now_us, 0, by which tenant
-- cost          O(1)
-- invariants    a claim that is younger than a minute is never taken over: its tenant's state may be about to be written
local FRESH_MS = 60000

function issuer_claim(keys, args)
  read_clock()
  local present = call('GET', keys[1])
  if present then
    local holder, since_ms = match(present, '^(%S+) (%d+)$')
    local is_wrong = holder == args[2] and now_ms - since_ms > FRESH_MS
    if holder ~= args[1] and not is_wrong then
      return outcome('TAKEN', holder)
    end
  end
  call('SET', keys[1], format('%s %d', args[1], now_ms))
  return outcome('OK')
end
