#!lua flags=allow-oom
-- key_delete: a key is refused from here on, and its streams are told to end.
--
-- uses          open, sessions
-- keys
--   1 meta      hash    position, version, credentials
--   2 keys      hash    key id -> packed key
--   3 sessions  zset    session hash -> when it ends, ms since epoch
--   4 used      hash    key id -> when it was last used, ms since epoch
-- args
--   1 caller    see open
--   2 key id
-- returns       OK, now_us, position, its hash | NOT_FOUND, now_us, position | LAST_ADMIN, now_us, position
-- cost          O(keys + sessions)
-- invariants    the last key with the scope admin stays: without it nobody could make another
local packed = redis.call('HGET', KEYS[2], ARGV[2])
if not packed then
  return cmsgpack.pack({ 'NOT_FOUND', now_us, position })
end
local function is_admin(key)
  local _, _, scopes = cmsgpack.unpack(key)
  return string.find(scopes, 'admin', 1, true) ~= nil
end
if is_admin(packed) then
  local admins = 0
  for _, key in ipairs(redis.call('HVALS', KEYS[2])) do
    if is_admin(key) then
      admins = admins + 1
    end
  end
  if admins == 1 then
    return cmsgpack.pack({ 'LAST_ADMIN', now_us, position })
  end
end
local hash = cmsgpack.unpack(packed)
redis.call('HDEL', META, 'k:' .. hash)
version, unsaved = math.max(version + 1, now_us), true
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[2])
end_sessions_of(KEYS[3], hash)
redis.call(PUBLISH, CHANNEL, cmsgpack.pack('C', TENANT, 'k:' .. hash))
return cmsgpack.pack({ 'OK', now_us, position, hash })
