#!lua
-- watch_take: a replica takes a connection to watch, if nobody has it.
--
-- keys
--   1 connections hash  connection id -> packed connection
--   2 watches   hash    connection id -> packed watch; `fence:<connection id>` -> the number of its latest take
-- args
--   1 connection id
--   2 replica
--   3 lease_ms  for how long, if it is not kept
-- returns       OK, now_us, 0, fence, packed connection, until when it was watched before in ms or false, whether that watcher gave it back
--               | HELD, now_us, 0 | GONE, now_us, 0 when there is no such connection
-- cost          O(1)
-- invariants    a lease has one holder; the fence grows with each take, so what an earlier holder still sends is refused
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local packed = redis.call('HGET', KEYS[1], ARGV[1])
if not packed then
  return cmsgpack.pack({ 'GONE', now_us, 0 })
end
local before = redis.call('HGET', KEYS[2], ARGV[1])
local until_ms, kept_ms, given_back, event_ms = 0, false, false, false
if before then
  local _
  _, until_ms, kept_ms, given_back, _, event_ms = cmsgpack.unpack(before)
end
if until_ms > now_ms then
  return cmsgpack.pack({ 'HELD', now_us, 0 })
end
local fence = redis.call('HINCRBY', KEYS[2], 'fence:' .. ARGV[1], 1)
local watch = cmsgpack.pack(ARGV[2], now_ms + tonumber(ARGV[3]), kept_ms or now_ms, false, false, event_ms, false, false)
redis.call('HSET', KEYS[2], ARGV[1], watch)
return cmsgpack.pack({ 'OK', now_us, 0, fence, packed, kept_ms, given_back })
