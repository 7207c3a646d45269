-- heads: the last kept positions of tenants of one partition, how many messages of what is not kept there were, and whether credentials still
-- hold: what shows that a message was lost.
--
-- function  heads
-- flags     no-writes
-- keys
--   1.. meta       hash    the tenant's state, credentials
-- args
--   1.. per key: how many credentials follow, then those credentials
-- returns       OK, now_us, 0, then per key: the position of the last kept event, or false when the tenant is gone; the number of its latest
--               message of what is not kept, or 0; then a boolean per credential
-- cost          O(keys + credentials)
local NOT_KEPT = 13 * 8 + 1 -- where the state has that number: see core/open.lua

function heads(keys, args)
  read_clock()
  local items, at = {}, 1
  for n = 1, #keys do
    local count = tonumber(args[at])
    local found = call('HMGET', keys[n], 'state', unpack(args, at + 1, at + count))
    local state = found[1]
    items[#items + 1] = state and (take_apart('<d', state))
    items[#items + 1] = state and (take_apart('<d', state, NOT_KEPT)) or 0
    for credential = 2, count + 1 do
      items[#items + 1] = found[credential] and true or false
    end
    at = at + count + 1
  end
  return outcome('OK') .. pack_list(items)
end
