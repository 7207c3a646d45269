#!lua
-- watch_keep: a watcher says how its watch goes, and keeps it, or gives it back.
--
-- keys
--   1 connections hash  connection id -> packed connection
--   2 watches   hash    connection id -> packed watch; `fence:<connection id>` -> the number of its latest take
-- args
--   1 connection id
--   2 fence     of the take
--   3 lease_ms  for how long from now; 0 gives it back
--   4 trouble   class of what keeps the broker from being watched, or empty
--   5 since_ms  since when it has been watched without a break, ms since epoch, or 0
--   6 event_ms  when the last event happened that was taken in, ms since epoch, or 0
--   7 lag_ms    how long that took, or empty
-- returns       OK, now_us | LOST, now_us when the connection is gone, or another replica took it
-- cost          O(1)
-- invariants    an outdated fence changes nothing
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
local before = redis.call('HGET', KEYS[2], ARGV[1])
if not before or redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 or redis.call('HGET', KEYS[2], 'fence:' .. ARGV[1]) ~= ARGV[2] then
  return cmsgpack.pack({ 'LOST', now_us })
end
local replica, _, kept_ms, _, _, event_ms = cmsgpack.unpack(before)
local lease_ms, since_ms = tonumber(ARGV[3]), tonumber(ARGV[5])
-- A broker that is not reached is not watched: who takes over tells the gap from when it last was.
if since_ms > 0 then
  kept_ms = now_ms
end
if tonumber(ARGV[6]) > 0 then
  event_ms = tonumber(ARGV[6])
end
local watch = cmsgpack.pack(replica, lease_ms > 0 and now_ms + lease_ms or 0, kept_ms, lease_ms == 0, since_ms > 0 and since_ms, event_ms,
  tonumber(ARGV[7]) or false, ARGV[4] ~= '' and ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], watch)
return cmsgpack.pack({ 'OK', now_us })
