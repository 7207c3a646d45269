-- tenant_delete: a tenant ends with all that it has; its streams are notified.
--
-- function  tenant_delete
-- flags     allow-oom
-- keys
--   1 meta         hash    the tenant's state, name, tier, credentials
--   2 keys         hash    key id -> packed key
--   3 due          zset    tenant -> a lower bound of its earliest deadline; `tenant/queues` (the partition's)
--   4 connections  hash    connection id -> packed connection
--   5.. every other key of the tenant
-- args
--   1 tenant
--   2 publish command
--   3 channel
-- returns       OK, now_us, position, then the hash of each of its keys and ingest keys | STALE, now_us, 0 when there is no such tenant
-- cost          O(keys + connections); the memory is given back in Redis' background thread
function tenant_delete(keys, args)
  local tenant, command, channel = unpack(args)
  local refusal = open(keys[1], 0)
  if refusal then
    return refusal
  end
  local hashes = {}
  for _, key in ipairs({ keys[2], keys[4] }) do
    for _, packed in ipairs(call('HVALS', key)) do
      hashes[#hashes + 1] = (unpack_sequence(packed))
    end
  end
  call('ZREM', keys[3], tenant, tenant .. '/queues')
  call('UNLINK', keys[1], keys[2], unpack(keys, 4))
  try(command, channel, pack('C', tenant, false))
  return outcome('OK') .. pack_list(hashes)
end
