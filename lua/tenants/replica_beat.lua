-- replica_beat: a replica that has streams of this partition's tenants is alive.
--
-- function  replica_beat
-- flags
-- keys
--   1 replicas     zset    replica -> until when it counts as alive, ms since epoch (the partition's)
-- args
--   1 replica
--   2 alive        for how many ms from now
-- returns       OK, now_us, 0
-- cost          O(log replicas)
function replica_beat(keys, args)
  read_clock()
  call('ZADD', keys[1], digits(now_ms + args[2]), args[1])
  call('ZREMRANGEBYSCORE', keys[1], '-inf', digits(now_ms))
  return outcome('OK')
end
