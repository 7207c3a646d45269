#!lua
-- stream_enter: a place for one more event stream, if the tenant has one left on all replicas together.
--
-- uses          open
-- keys
--   1 meta      hash    position, credentials
--   2 streams   hash    "<replica>/<number>" -> "" for a key's or token's stream, the session for a cookie's
--   3 replicas  zset    replica -> until when it counts as alive, ms since epoch (the partition's)
-- args
--   1 caller    see open
--   2 floor     see open
--   3 replica
--   4 number    the stream's, on that replica
--   5 session   of a cookie's stream, or empty
--   6 most      streams of this kind (with a session, or without) that the tenant may have, 0: no limit
--   7 most      streams of the one session
--   8 alive     for how many ms from now the replica counts as alive
-- returns       OK, now_us, position | LIMIT, now_us, position, limit type, limit, streams, false
-- cost          O(streams of the tenant)
-- invariants    the place of a replica that has died is given to the next who asks
local STREAMS, REPLICAS = KEYS[2], KEYS[3]
local replica, session, most, most_of_session = ARGV[3], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local alive = { [replica] = true }
local of_kind, of_session, dead = 0, 0, {}
local found = redis.call('HGETALL', STREAMS)
for i = 1, #found, 2 do
  local owner = string.match(found[i], '^[^/]*')
  if alive[owner] == nil then
    alive[owner] = (tonumber(redis.call('ZSCORE', REPLICAS, owner)) or 0) > now_ms
  end
  if not alive[owner] then
    dead[#dead + 1] = found[i]
  elseif (found[i + 1] == '') == (session == '') then
    of_kind = of_kind + 1
    of_session = of_session + (found[i + 1] == session and 1 or 0)
  end
end
if most > 0 and of_kind >= most then
  return over_limit('SseConnections', most, of_kind, false)
end
if session ~= '' and of_session >= most_of_session then
  return over_limit('SseConnections', most_of_session, of_session, false)
end
for first = 1, #dead, 2000 do
  redis.call('HDEL', STREAMS, unpack(dead, first, math.min(first + 1999, #dead)))
end
redis.call('HSET', STREAMS, replica .. '/' .. ARGV[4], session)
redis.call('ZADD', REPLICAS, now_ms + tonumber(ARGV[8]), replica)
return cmsgpack.pack({ 'OK', now_us, position })
