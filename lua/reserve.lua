#!lua
-- reserve: take free resources, each on its own, or tell who has them: plain names, pools, trees, blockers.
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
--   2.. sextets of requester, resource, release token to give, ttl in ms or 0, resource type, note
-- returns       OK, now_us, position, then twelve per item: status, token, fence, deadline_ms, holder, holder_deadline_ms, pool,
--               slot, blockers, path, obstacle's kind, obstacle's name (false where absent)
--               | LIMIT, now_us, position, limit type, limit, held, earliest deadline_ms or false | TOO_MANY, now_us, position
-- cost          O(items * (depth + blocks) * log held)
-- invariants    beyond the held limit nothing is taken; what is held is never taken by another before its deadline
local out = { 'OK', now_us, position }
local events = {}

for i = 2, #ARGV, 6 do
  local before = position
  local requester, resource, kind = ARGV[i], ARGV[i + 1], ARGV[i + 4]
  local status, physical, reservation = answer_take(out, requester, resource, ARGV[i + 2], tonumber(ARGV[i + 3]), kind, ARGV[i + 5], next_position())
  if status == 'ACQUIRED' then
    events[#events + 1] = { position, 'RESERVED', 'ACQUIRED', false, 'RESERVE', physical, requester, kind, LABEL, position, reservation[DEADLINE],
      reservation[POOL], reservation[BLOCKERS] }
  else
    position = before
    if status ~= 'ALREADY_HAD' then
      events[#events + 1] = { false, 'RESERVE_FAILED', status, cause_of(out), 'RESERVE', resource, requester, kind, LABEL, false, false, false, false }
    end
  end
end

return finish(out, events)
