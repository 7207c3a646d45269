#!lua
-- register: define resources: how many of each, what each takes along, where each stands in the tree. All of a call or none.
--
-- uses          open, limit, change, view, pools, plan, write, lapse, registry
-- keys
--   1 meta         hash    position, earliest deadline, credentials
--   2 held         hash    resource -> packed reservation
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      stream  what subscribers are told
--   5 due          zset    tenant -> its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 pools        hash    pool -> packed counts; who holds which slot
--   8 slots        zset    free ranges, deadlines and fences of pools
--   9 uses         zset    who holds a blocker
--   10 tree         zset    what is held below an ancestor
--   11 links        zset    who stands below, blocks, or looks like a slot of whom
-- args
--   1 caller       see open
--   2 most resources that the tenant may register, a pool of N counting as N; 0: no limit
--   3.. per definition: name, capacity, number of blocks, number of ancestors, the blocks, the ancestors from the root on
-- returns       OK, now_us, position | CONFLICT, now_us, position, item (from 0), why, name | LIMIT as in reserve
-- cost          O(definitions * (depth + blocks)); resizing a pool in use or moving a subtree is linear in it
-- invariants    one place in the tree per name; nothing that is held moves; a pool's slots are no names of their own
local most = tonumber(ARGV[2])
local item, i = 0, 3
while i <= #ARGV do
  local name, capacity, blocks, ancestors = ARGV[i], tonumber(ARGV[i + 1]), {}, {}
  local first_ancestor = i + 4 + tonumber(ARGV[i + 2])
  local final = first_ancestor + tonumber(ARGV[i + 3])
  for n = i + 4, first_ancestor - 1 do
    blocks[#blocks + 1] = ARGV[n]
  end
  for n = first_ancestor, final - 1 do
    ancestors[#ancestors + 1] = ARGV[n]
  end
  local why, which = register(name, capacity, blocks, ancestors)
  if why then
    return cmsgpack.pack({ 'CONFLICT', now_us, math.max(last, floor), item, why, which })
  end
  item, i = item + 1, final
end

local total = registered_total()
if most > 0 and total > most and registered_change > 0 then
  return over_limit('Resources', most, total - registered_change, false)
end
write_registry()
return cmsgpack.pack({ 'OK', now_us, position })
