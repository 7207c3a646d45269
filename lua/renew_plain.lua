#!lua flags=allow-oom
-- renew_plain: move the deadline of what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, batch_kept, end_plain, caller, look_many, renew_many, keep_many, end_one
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2.. packed: requester, resource, release token (empty when the caller sent none), ttl in ms, and what the replica knows beforehand of
--       the event RENEWED: all behind its resource type, packed
-- returns       OK, now_us, position, then per item RENEWED, fence, deadline_ms | NOT_RESERVED
--               | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
-- Most calls renew one thing, rightly.
local requester, resource, given, ttl_ms, event = cmsgpack.unpack(ARGV[2])
local present = #ARGV == 2 and call('HGET', HELD, resource)
local stamped, fence, since, holder, token, kind, _
if present then
  stamped, fence, _, since = cmsgpack.unpack_limit(present, 3, 0)
  _, holder, token, kind = cmsgpack.unpack_limit(present, 3, stamped)
end
if not present or holder ~= requester or token ~= given then
  -- here: renew_many
end

local deadline = math.ceil(now_us / 1000) + ttl_ms
-- MessagePack without `cmsgpack`: see `reserve_plain`. Of the reservation only the deadline changes.
call('HSET', HELD, resource, struct.pack('>BI8BI8BI8c0', 207, fence, 207, deadline, 207, since, string.sub(present, stamped + 1)))
call('ZADD', DEADLINES, format('%d', deadline), resource)
if not due or deadline < due then
  due = deadline
  -- here: caller
  call('ZADD', DUE, format('%d', due), TENANT)
end
position = position < now_us and now_us or position + 1
event = struct.pack('>c0BI8BI8BI8BI8BI8c0c0', HEAD, 207, last, 207, fence, 207, deadline, 207, now_ms, 207, position, pack(kind), event)
-- here: end_one
return struct.pack('>BI8c3BI8BI8c8BI8BI8', 207, backlog, '\162OK', 207, now_us, 207, position, '\167RENEWED', 207, fence, 207, deadline)
