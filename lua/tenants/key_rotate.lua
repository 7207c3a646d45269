-- key_rotate: a key keeps its id, label and scopes and gets a new secret; the old one is refused from here on.
--
-- function  key_rotate
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 keys         hash    key id -> packed key
--   3 sessions     zset    session hash -> when it ends, ms since epoch
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
--   3 key id
--   4 new key hash
-- returns       OK, now_us, position, old hash, packed key | NOT_FOUND, now_us, position | STALE, RATE as reserve
-- cost          O(sessions)
function key_rotate(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  local id, hash = args[3], args[4]
  local packed = call('HGET', keys[2], id)
  if not packed then
    return close_call('NOT_FOUND')
  end
  local old, label, scopes, created_ms = unpack_sequence(packed)
  local renewed = pack(hash, label, scopes, created_ms)
  call('HDEL', META, 'k:' .. old)
  call('HSET', META, 'k:' .. hash, id)
  call('HSET', keys[2], id, renewed)
  move_version()
  save()
  sessions.remove_of_key(keys[3], old)
  publish_message(pack('C', caller.tenant, 'k:' .. old))
  return outcome('OK', old, renewed)
end
