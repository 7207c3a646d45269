#!lua
-- shared_plain: what several calls of one credential ask at the same moment, one thing each: reserve, renew, unreserve.
--
-- uses          open, straight, lapse_plain, change, caller, batch, known, grants, frees, moves, groups, tell, taken, grant, claim, free, move, kind, name_head, keep_many, free_many, end_plain
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
-- args
--   1 caller    see open
--   2 items     packed, each of another resource, first all UNRESERVE, for they make room, then all RESERVE, then all RENEW, for `tell` counts on it:
--       of all items which of these; then of all the ttl in ms or 0; the resource; the release token; and what the replica knows beforehand,
--       as `reserve_plain`, `renew_plain` and `unreserve_plain` have it: of the reservation; of the event
-- returns       OK, now_us, position, then per item what its own script answers where it is done, held or free; else false, and nothing of it was
--               done: its own script says why
-- cost          O(items * log held)
-- invariants    what becomes of an item does not depend on the others, but for who comes first
local HELD, DEADLINES, HISTORY, DUE = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, pack, format = redis.call, cmsgpack.pack, string.format
-- here: lapse_plain
-- here: caller
local put, unpack_limit, find, sub, byte = struct.pack, cmsgpack.unpack_limit, string.find, string.sub, string.byte
local items = { cmsgpack.unpack(ARGV[2]) }
local count = #items / 6
local asked, ttls, names, tokens, known_of, told_of = 0, count, 2 * count, 3 * count, 4 * count, 5 * count -- behind which each begins
local found = call('HMGET', HELD, unpack(items, names + 1, names + count))
-- here: batch
-- here: grants
-- here: frees
-- here: moves
-- here: groups
held_count = held_count or call('HLEN', HELD)

for i = 1, count do
  local resource, present = items[names + i], found[i]
  -- here: known
  if items[asked + i] == 'RESERVE' then
    if present then
      -- here: taken
    elseif HELD_LIMIT > 0 and held_count + taken - freed_count >= HELD_LIMIT then
      answered = answered + 1
      answers[answered] = '\194' -- packed: false
    else
      -- here: grant
    end
  elseif present then
    -- here: claim
    local has_deadline = byte(present, 10) == 207
    local stamped = has_deadline and 27 or 19
    if find(present, proof, stamped + 1, true) ~= stamped + 1 then
      answered = answered + 1
      answers[answered] = '\194' -- packed: false
    elseif items[asked + i] == 'RENEW' then
      -- here: move
    else
      -- here: free
    end
  else
    answered = answered + 1
    answers[answered] = pack('NOT_RESERVED')
  end
end

held_count = held_count + taken
if written > 0 then
  -- here: keep_many
end
if freed_count > 0 then
  -- here: free_many
end
-- here: end_plain
