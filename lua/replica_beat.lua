#!lua
-- replica_beat: a replica that has streams of this partition's tenants is alive.
--
-- keys
--   1 replicas  zset    replica -> until when it counts as alive, ms since epoch (the partition's)
-- args
--   1 replica
--   2 alive     for how many ms from now
-- returns       OK, now_us
-- cost          O(log replicas)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)
redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
return cmsgpack.pack({ 'OK', now_us })
