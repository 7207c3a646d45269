-- tenant_create: a tenant begins, with its default key and its first position.
--
-- function  tenant_create
-- flags
-- keys
--   1 meta         hash    the tenant's state, name, tier, credentials
--   2 keys         hash    key id -> packed key
-- args
--   1 name
--   2 tier
--   3 key id
--   4 key hash
--   5 key label
--   6 scopes       of the key, comma-separated
-- returns       OK, now_us, position | EXISTS, now_us, 0
-- cost          O(1)
-- invariants    an existing tenant is left as it was
function tenant_create(keys, args)
  local name, tier, key_id, key_hash, label, scopes = unpack(args)
  read_clock()
  if call('EXISTS', keys[1]) == 1 then
    return outcome('EXISTS')
  end
  create_state(keys[1])
  call('HSET', META, 'name', name, 'tier', tier, 'created', digits(now_ms), 'k:' .. key_hash, key_id)
  call('HSET', keys[2], key_id, pack(key_hash, label, scopes, now_ms))
  return outcome('OK')
end
