#!lua flags=allow-oom
-- unreserve: give back what the caller proves it holds: plain names, slots by their own or their pool's name, what has blockers.
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
--   2.. triples of requester, resource, release token (zero when the caller sent none)
-- returns       OK, now_us, position, then per item: status, released names, holder, holder_deadline_ms
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
--               | TOO_MANY, now_us, position
-- cost          O(items * (depth + blocks) * log held)
-- invariants    one wrong token and nothing is freed; only the holder's own token frees
local out = { 'OK', now_us, position }
local wrong = { 'BAD_TOKEN', now_us, position }
local refused, events, complaints = false, {}, {}

for i = 2, #ARGV, 3 do
  local requester, resource = ARGV[i], ARGV[i + 1]
  local status, physical, ended = answer_release(out, requester, resource, ARGV[i + 2])
  wrong[#wrong + 1] = status == 'INVALID_RELEASE_TOKEN'
  if status == 'RELINQUISHED' then
    events[#events + 1] = { next_position(), 'UNRESERVED', 'RELINQUISHED', false, 'UNRESERVE', physical, requester, ended[KIND], LABEL, ended[FENCE], false,
      ended[POOL], ended[BLOCKERS] }
  elseif status ~= 'NOT_RESERVED' then
    local n = #out
    local cause = out[n - 1] and { 'resource', resource, out[n - 1], out[n] }
    local event = { false, 'UNRESERVE_FAILED', status, cause, 'UNRESERVE', resource, requester, false, LABEL, false, false, false, false }
    events[#events + 1] = event
    if status == 'INVALID_RELEASE_TOKEN' then
      refused = true
      complaints[#complaints + 1] = event
    end
  end
end

if refused then
  tell_all(complaints)
  return cmsgpack.pack(wrong)
end
return finish(out, events)
