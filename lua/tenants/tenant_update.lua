-- tenant_update: change a tenant's settings. Its version moves, so every replica looks again at its next call.
--
-- function  tenant_update
-- flags
-- keys
--   1 meta         hash    the tenant's state, name, tier, issuer, credentials
-- args
--   1 tier         or empty to leave it
--   2 require registration: "1", "0", or empty to leave it
--   3 tenant
--   4 publish command
--   5 channel
--   6 issuer id    empty to leave the issuer, "-" to remove it
--   7 kind         of the issuer's keys
--   8 issuer       (`iss`), or empty
--   9 audience     (`aud`), or empty
--   10 keys        of the issuer, sealed
--   11 default     time to live in ms, "0": none; empty to leave it
--   12 greatest    time to live in ms, "0": none; empty to leave it
-- returns       OK, now_us, position, packed issuer of before or false | STALE, now_us, 0 when there is no such tenant
-- cost          O(1)
-- invariants    what came from an issuer that is replaced or removed is refused from here on, and its streams are notified
function tenant_update(keys, args)
  local tier, require, tenant, command, channel, id, kind, issuer, audience, sealed, default_ttl, greatest_ttl = unpack(args, 1, 12)
  local refusal = open(keys[1], 0)
  if refusal then
    return refusal
  end
  local before, ended = call('HGET', META, 'issuer'), nil
  local settings = { tier = tier, require = require, default_ttl = default_ttl, greatest_ttl = greatest_ttl }
  for field, value in pairs(settings) do
    if value ~= '' then
      call('HSET', META, field, value)
    end
  end
  if id ~= '' then
    if before then
      ended = 'i:' .. unpack_sequence(before)
      call('HDEL', META, 'issuer', ended)
    end
    if id ~= '-' then
      call('HSET', META, 'issuer', pack(id, kind, issuer ~= '' and issuer, audience ~= '' and audience, sealed), 'i:' .. id, '1')
    end
  end
  move_version()
  save()
  if ended then
    try(command, channel, pack('C', tenant, ended))
  end
  return outcome('OK', before)
end
