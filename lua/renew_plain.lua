#!lua flags=allow-oom
-- renew_plain: move the deadline of what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, groups, tell, end_plain, caller, renew_many, batch, known, moves, claim, move, kind, name_head, bad_token, keep_many, end_one
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 items     packed: of all items the ttl in ms; then of all the resource; the release token (zero when the caller sent none); and, or nothing where
--       both is as of the item before: the requester, packed; what the replica knows of the event RENEWED: from its requester to its
--       resource, packed
-- returns       OK, now_us, position, then per item fence, deadline_ms: it was renewed | NOT_RESERVED
--               | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    a refusal leaves every key as it was; a lapsed reservation is never revived; the fence stays
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SAID = '\167RENEWED\167RENEWED\194\165RENEW' -- packed: what the event says of itself
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
-- Most calls renew one thing, rightly; how that is seen stands in `unreserve_plain`.
local more, ttl_ms, resource, token, who, told = cmsgpack.unpack_limit(ARGV[2], 5, 0)
local present = more < 0 and call('HGET', HELD, resource)
local stamped = present and (string.byte(present, 10) == 207 and 27 or 19)
local proof = '\176' .. token .. who -- 176: a text of 16 bytes
if not present or string.find(present, proof, stamped + 1, true) ~= stamped + 1 then
  -- here: renew_many
end

local deadline = math.ceil(now_us / 1000) + ttl_ms
-- MessagePack without `cmsgpack`: see `reserve_plain`. Of the reservation only the deadline changes: before it stands the fence, of nine
-- bytes, and behind it since when it is held, of nine, too.
call('HSET', HELD, resource, struct.pack('>c9BI8c0', present, 207, deadline, string.sub(present, stamped - 8)))
call('ZADD', DEADLINES, format('%d', deadline), resource)
if not due or deadline < due then
  due = deadline
  -- here: caller
  call('ZADD', DUE, format('%d', due), TENANT)
end
position = position < now_us and now_us or position + 1
local _, kind = cmsgpack.unpack_limit(present, 1, stamped + #proof)
local head
-- here: name_head
local event = struct.pack('>c0BI8c9BI8BI8BI8c0c0c0c0c0', HEAD, 207, last, present, 207, deadline, 207, now_ms, 207, position, SAID, pack(kind), told, head, resource)
-- here: end_one
return struct.pack('>BI8c3BI8BI8c9BI8', 207, backlog, '\162OK', 207, now_us, 207, position, present, 207, deadline)
