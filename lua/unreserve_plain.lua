#!lua flags=allow-oom
-- unreserve_plain: give back what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, batch_kept, end_plain, caller, look_many, unreserve_many, end_one
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2.. packed: requester, resource, release token (empty when the caller sent none), and what the replica knows beforehand of the event
--       UNRESERVED: all behind its resource type, packed
-- returns       OK, now_us, position, then per item RELINQUISHED | NOT_RESERVED | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    one wrong token and nothing is freed; only the holder's own token frees
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
-- Most calls give back one thing, rightly.
local requester, resource, given, event = cmsgpack.unpack(ARGV[2])
local present = #ARGV == 2 and call('HGET', HELD, resource)
local _, fence, deadline, holder, token, kind
if present then
  _, fence, deadline, _, holder, token, kind = cmsgpack.unpack_limit(present, 6, 0)
end
if not present or holder ~= requester or token ~= given then
  -- here: unreserve_many
end

held_count = (held_count or call('HLEN', HELD)) - 1
call('HDEL', HELD, resource)
if deadline then
  call('ZREM', DEADLINES, resource)
  -- The earliest deadline stays behind as a lower bound, but where nothing is left none may stay.
  if due and held_count == 0 then
    due = false
    -- here: caller
    call('ZREM', DUE, TENANT)
  end
end
position = position < now_us and now_us or position + 1
-- MessagePack without `cmsgpack`: see `reserve_plain`; 194 is false.
event = struct.pack('>c0BI8BI8BBI8BI8c0c0', HEAD, 207, last, 207, fence, 194, 207, now_ms, 207, position, pack(kind), event)
-- here: end_one
return struct.pack('>BI8c3BI8BI8c13', 207, backlog, '\162OK', 207, now_us, 207, position, '\172RELINQUISHED')
