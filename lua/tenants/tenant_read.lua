-- tenant_read: what a tenant is, and what one of its credentials may do.
--
-- function  tenant_read
-- flags     no-writes
-- keys
--   1 meta         hash    the tenant's state, name, tier, issuer, credentials
--   2 keys         hash    key id -> packed key
-- args
--   1 credential   a field of meta, or empty
-- returns       OK, now_us, position, version, name, tier, created_ms, require registration, whether anything was ever registered, packed issuer or
--               false, whether the credential is there, key id (of an ingest key: its connection) or false, packed key or false, default and
--               greatest time to live in ms (0: none)
--               | STALE, now_us, 0 when there is no such tenant
-- cost          O(1)
function tenant_read(keys, args)
  local meta, field = keys[1], args[1]
  read_clock()
  local found =
    call('HMGET', meta, 'state', 'name', 'tier', 'created', 'require', 'defined', 'issuer', field, 'default_ttl', 'greatest_ttl')
  if not found[1] then
    return outcome('STALE')
  end
  local credential, kind = found[8], sub(field, 1, 2)
  local id = false
  if credential and (kind == 'k:' or kind == 'q:') then
    id = credential
  elseif credential and kind == 's:' then
    local _, _, key_hash = unpack_sequence(credential)
    id = call('HGET', meta, 'k:' .. key_hash)
  end
  local _, _, _, _, version = take_apart('<ddddd', found[1])
  position = take_apart('<d', found[1])
  return outcome('OK', version, found[2], found[3], tonumber(found[4]), found[5] == '1', found[6] == '1', found[7], credential and true or false,
    id, id and call('HGET', keys[2], id), tonumber(found[9]) or 0, tonumber(found[10]) or 0)
end
