#!lua flags=allow-oom
-- unreserve_plain: give back what the caller proves it holds.
--
-- uses          open, straight, lapse_plain, change, groups, tell, end_plain, caller, unreserve_many, batch, known, frees, claim, free, kind, name_head, bad_token, free_many, end_one
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 items     packed: of all items the resource; then of all the release token (zero when the caller sent none); and, or nothing where both is as
--       of the item before: the requester, packed; what the replica knows of the event UNRESERVED: from its requester to its resource, packed
--   3? twice    where a resource is named by more than one item
-- returns       OK, now_us, position, then per item true: it was relinquished | NOT_RESERVED
--               | DOESNT_OWN_RESERVATION, holder, deadline_ms or false
--               | BAD_TOKEN, now_us, position, then true per item whose token is wrong, false for the others
-- cost          O(items * log held)
-- invariants    one wrong token and nothing is freed; only the holder's own token frees
-- Written straight down, without functions: in Redis' Lua making them costs a call a tenth of its time.
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SAID = '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE' -- packed: what the event says of itself
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
-- Most calls give back one thing, rightly. That is seen without unpacking the reservation: behind its stamp, of 27 bytes, or 19 without a
-- deadline, stands what the caller has to prove.
local more, resource, token, who, told = cmsgpack.unpack_limit(ARGV[2], 4, 0)
local present = more < 0 and call('HGET', HELD, resource)
local dated, stamped
if present then
  dated = string.byte(present, 10) == 207
  stamped = dated and 27 or 19
end
local proof = '\176' .. token .. who -- 176: a text of 16 bytes
if not present or string.find(present, proof, stamped + 1, true) ~= stamped + 1 then
  -- here: unreserve_many
end

held_count = (held_count or call('HLEN', HELD)) - 1
call('HDEL', HELD, resource)
if dated then
  call('ZREM', DEADLINES, resource)
  -- The earliest deadline stays behind as a lower bound, but where nothing is left none may stay.
  if due and held_count == 0 then
    due = false
    -- here: caller
    call('ZREM', DUE, TENANT)
  end
end
position = position < now_us and now_us or position + 1
local _, kind = cmsgpack.unpack_limit(present, 1, stamped + #proof)
-- MessagePack without `cmsgpack`: see `reserve_plain`; 194 is false; a reservation begins with its fence, of nine bytes.
local head
-- here: name_head
local event = struct.pack('>c0BI8c9BBI8BI8c0c0c0c0c0', HEAD, 207, last, present, 194, 207, now_ms, 207, position, SAID, pack(kind), told, head, resource)
-- here: end_one
return struct.pack('>BI8c3BI8BI8B', 207, backlog, '\162OK', 207, now_us, 207, position, 195)
