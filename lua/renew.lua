#!lua flags=allow-oom
-- renew: move the deadline of what the caller proves it holds, and with it its blockers'.
--
-- uses          open, limit, change, view, pools, plan, write, lapse, answers
-- keys
--   1 meta         hash    position, earliest deadline, credentials
--   2 held         hash    resource -> packed reservation
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      stream  what subscribers are told
--   5 due          zset    tenant -> its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 pools        hash    pool -> packed counts; who holds which slot
--   8 slots        zset    free ranges, deadlines and fences of pools
--   9 uses         zset    who holds a blocker
--   10 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
--   2.. quartets of requester, resource, release token (zero when the caller sent none), ttl in ms
-- returns       OK, now_us, position, then per item: status, fence, deadline_ms, holder, holder_deadline_ms
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
--               | TOO_MANY, now_us, position
-- cost          O(items * blocks * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
local out = { 'OK', now_us, position }
local wrong = { 'BAD_TOKEN', now_us, position }
local refused, events = false, {}

for i = 2, #ARGV, 4 do
  local requester = ARGV[i]
  local physical, refusal, holder, until_ms = claim(requester, ARGV[i + 1], ARGV[i + 2])
  local n = #out
  if physical then
    local renewed = prolong(physical, tonumber(ARGV[i + 3]))
    out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = 'RENEWED', renewed[FENCE], renewed[DEADLINE], false, false
    events[#events + 1] = { next_position(), 'RENEWED', 'RENEWED', false, 'RENEW', physical, requester, renewed[KIND], LABEL, renewed[FENCE],
      renewed[DEADLINE], renewed[POOL], renewed[BLOCKERS] }
  else
    out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = refusal, false, false, holder or false, until_ms or false
  end
  wrong[#wrong + 1] = refusal == 'INVALID_RELEASE_TOKEN'
  refused = refused or refusal == 'INVALID_RELEASE_TOKEN'
end

if refused then
  return cmsgpack.pack(wrong)
end
return finish(out, events)
