#!lua flags=allow-oom
-- renew_plain: move the deadline of what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, batch_kept, end_plain, renew_many, end_one
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
local fence, since, holder, token, kind, label, end_user, note, _
if present then
  fence, _, since, holder, token, kind, label, end_user, note = cmsgpack.unpack(present)
end
if not present or holder ~= requester or token ~= given then
  -- here: renew_many
end

local deadline = math.ceil(now_us / 1000) + ttl_ms
call('HSET', HELD, resource, pack(fence, deadline, since, holder, token, kind, label, end_user, note, false, false, false, 0))
call('ZADD', DEADLINES, format('%d', deadline), resource)
if not due or deadline < due then
  due = deadline
  call('ZADD', DUE, format('%d', due), TENANT)
end
position = position < now_us and now_us or position + 1
event = HEAD .. pack(last, fence, deadline, now_ms, position, kind) .. event
-- here: end_one
return pack(backlog, 'OK', now_us, position, 'RENEWED', fence, deadline)
