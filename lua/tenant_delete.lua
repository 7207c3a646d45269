#!lua flags=allow-oom
-- tenant_delete: a tenant ends with all that it has; its streams are told to end.
--
-- keys
--   1 meta      hash    position, version, name, tier, credentials
--   2 keys      hash    key id -> packed key
--   3 due       zset    tenant -> its earliest deadline; `tenant/queues` (the partition's)
--   4 connections hash  connection id -> packed connection
--   5.. every other key of the tenant
-- args
--   1 tenant
--   2 publish command
--   3 channel
-- returns       OK, now_us, position, then the hash of each of its keys and ingest keys | STALE, now_us when there is no such tenant
-- cost          O(keys); the memory is given back in Redis' background thread
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return cmsgpack.pack({ 'STALE', now_us })
end
local out = { 'OK', now_us, (struct.unpack('<d', state)) }
for _, packed in ipairs(redis.call('HVALS', KEYS[2])) do
  out[#out + 1] = (cmsgpack.unpack(packed))
end
for _, packed in ipairs(redis.call('HVALS', KEYS[4])) do
  out[#out + 1] = (cmsgpack.unpack(packed))
end
redis.call('ZREM', KEYS[3], ARGV[1], ARGV[1] .. '/queues')
redis.call('UNLINK', KEYS[1], KEYS[2], unpack(KEYS, 4))
redis.call(ARGV[2], ARGV[3], cmsgpack.pack('C', ARGV[1], false))
return cmsgpack.pack(out)
