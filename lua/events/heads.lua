-- heads: the last kept positions of tenants of one partition, and whether credentials still hold: what shows that a message was lost.
--
-- function  heads
-- flags     no-writes
-- keys
--   1.. meta       hash    the tenant's state, credentials
-- args
--   1.. per key: how many credentials follow, then those credentials
-- returns       OK, now_us, 0, then per key: the position of the last kept event, or false when the tenant is gone, then a boolean per
--               credential
-- cost          O(keys + credentials)
function heads(keys, args)
  read_clock()
  local items, at = {}, 1
  for n = 1, #keys do
    local count = tonumber(args[at])
    local found = call('HMGET', keys[n], 'state', unpack(args, at + 1, at + count))
    items[#items + 1] = found[1] and take_apart('<d', found[1])
    for credential = 2, count + 1 do
      items[#items + 1] = found[credential] and true or false
    end
    at = at + count + 1
  end
  return outcome('OK') .. pack_list(items)
end
