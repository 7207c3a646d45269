-- register: define resources: how many of each, what each takes along, where each stands in the tree. All of a call or none.
--
-- function  register
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 held         hash    resource -> packed reservation; of pools: who holds which slot, how many are held
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      list    the kept events
--   5 due          zset    tenant -> a lower bound of its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 index        zset    what is held of pools, below places of the tree, by whom a blocker is used
--   8 slots        string  bitmap: which slots of pools are held
--   9 lines        zset    who waits for what, in order
--   10 tickets     hash    ticket -> packed ticket
--   11 ticket_ends zset    ticket -> when it is looked after next, ms since epoch
--   12 links       zset    who stands below, blocks, or looks like a slot of whom
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, most resources that the tenant may register, a pool of N counting as N (0: no limit), number of
--                  definitions, then per definition: name, capacity, array of blocks, array of ancestors from the root on
-- returns       OK, now_us, position | CONFLICT, now_us, position, item (from 0), why, name | LIMIT, TOO_MUCH_WORK, STALE, RATE as reserve
--               | AGAIN, now_us, position: something has lapsed: call again with the same
--               | BEGUN, now_us, position: it is written: call again with the same, until what is held is part of the pools
-- cost          O(definitions * (depth + blocks)); moving a subtree is linear in it; making or enlarging a pool is linear in what is held, in pieces
-- invariants    one place in the tree per name; nothing that is held moves; a pool's slots are no names of their own
function register(keys, args)
  local packed = args[2]
  local at, cost, floor_at, limit, many = unpack_limit(packed, 4, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  drafts.reset()
  local names, definitions_of = {}, {}
  for item = 1, many do
    local name, capacity, blocks, ancestors
    at, name, capacity, blocks, ancestors = unpack_limit(packed, 4, at)
    names[item], definitions_of[item] = name, { capacity, blocks, ancestors }
  end
  drafts.look_ahead(names, many)
  for item = 1, many do
    local why, which = drafts.register(names[item], unpack(definitions_of[item]))
    if is_too_much() or why == 'TOO_MUCH_WORK' then
      return close_call(plan.too_much())
    elseif why then
      return close_call('CONFLICT', item - 1, why, which)
    end
  end
  local total, more = drafts.total()
  if limit > 0 and total > limit and more > 0 then
    return over_limit('Resources', limit, total - more, false)
  end
  write_registry(total)
  if unsettled > 0 then
    plan.write()
    definitions.reset()
    plan.start()
    if settle() then
      return outcome('BEGUN')
    end
  end
  if waiting_count > 0 then
    definitions.reset()
    for item = 1, many do
      note_redefined(names[item])
    end
  end
  return plan.finish()
end
