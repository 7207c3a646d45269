#!lua flags=no-writes
-- tenant_read: what a tenant is, and what one of its credentials may do.
--
-- keys
--   1 meta      hash    position, version, name, tier, credentials
--   2 keys      hash    key id -> packed key
-- args
--   1 credential, a field of meta, or empty
-- returns       OK, now_us, position, version, name, tier, created_ms, require registration, whether anything was
--               ever registered, packed issuer or false, whether the credential is there, key id (of an ingest key:
--               its connection) or false, packed key or false
--               | STALE, now_us when there is no such tenant
-- cost          O(1)
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local meta = redis.call('HMGET', KEYS[1], 'state', 'name', 'tier', 'created', 'require', 'issuer', 'defined', ARGV[1])
if not meta[1] then
  return cmsgpack.pack({ 'STALE', now_us })
end
local credential, kind = meta[8], string.sub(ARGV[1], 1, 2)
local id = false
if credential and (kind == 'k:' or kind == 'q:') then
  id = credential
elseif credential and kind == 's:' then
  local _, _, key_hash = cmsgpack.unpack(credential)
  id = redis.call('HGET', KEYS[1], 'k:' .. key_hash)
end
local key = id and redis.call('HGET', KEYS[2], id)
local last, _, _, _, version = struct.unpack('<ddddd', meta[1])
return cmsgpack.pack({ 'OK', now_us, last, version, meta[2], meta[3], tonumber(meta[4]), meta[5] == '1', meta[7] == '1', meta[6],
  credential and true or false, id, key })
