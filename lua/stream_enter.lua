#!lua
-- stream_enter: a place for one more event stream, if the tenant has one left on all replicas together.
--
-- uses          open, limit, places
-- keys
--   1 meta      hash    position, credentials
--   2 streams   hash    "<replica>/<number>" -> "" for a key's or token's stream, the session for a cookie's
--   3 replicas  zset    replica -> until when it counts as alive, ms since epoch (the partition's)
-- args
--   1 caller    see open
--   2 replica
--   3 number    the stream's, on that replica
--   4 session   of a cookie's stream, or empty
--   5 most      streams of this kind (with a session, or without) that the tenant may have, 0: no limit
--   6 most      streams of the one session
--   7 alive     for how many ms from now the replica counts as alive
-- returns       OK, now_us, position | LIMIT, now_us, position, limit type, limit, streams, false
-- cost          O(streams of the tenant)
-- invariants    the place of a replica that has died is given to the next who asks
local replica, session, most, most_of_session = ARGV[2], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local of_kind, of_session, dead = count_places(replica, session)
if most > 0 and of_kind >= most then
  return over_limit('SseConnections', most, of_kind, false)
end
if session ~= '' and of_session >= most_of_session then
  return over_limit('SseConnections', most_of_session, of_session, false)
end
for first = 1, #dead, 2000 do
  redis.call('HDEL', STREAMS, unpack(dead, first, math.min(first + 1999, #dead)))
end
redis.call('HSET', STREAMS, replica .. '/' .. ARGV[3], session)
redis.call('ZADD', REPLICAS, now_ms + tonumber(ARGV[7]), replica)
return cmsgpack.pack({ 'OK', now_us, position })
