#!lua flags=allow-oom
-- connection_delete: a connection ends with its ingest key and its watch.
--
-- uses          open
-- keys
--   1 meta      hash    position, version, credentials
--   2 connections hash  connection id -> packed connection
--   3 watches   hash    connection id -> packed watch; `fence:<connection id>` -> the number of its latest take
--   4 cursors   hash    connection id -> packed names and cursors
-- args
--   1 caller    see open
--   2 connection id
-- returns       OK, now_us, position, its ingest key's hash | NOT_FOUND, now_us, position
-- cost          O(1)
local packed = redis.call('HGET', KEYS[2], ARGV[2])
if not packed then
  return cmsgpack.pack({ 'NOT_FOUND', now_us, position })
end
local hash = cmsgpack.unpack(packed)
redis.call('HDEL', META, 'q:' .. hash)
version, unsaved = math.max(version + 1, now_us), true
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[2], 'fence:' .. ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call(PUBLISH, CHANNEL, cmsgpack.pack('C', TENANT, 'q:' .. hash))
return cmsgpack.pack({ 'OK', now_us, position, hash })
