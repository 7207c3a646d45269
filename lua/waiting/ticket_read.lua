-- ticket_read: what became of a ticket, or its place in line. Asking for it keeps it alive, and what it got is claimed by being shown.
--
-- function  ticket_read
-- flags     allow-oom
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
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, ticket
-- returns       OK, now_us, position, then status (W, A, T, L or C), since ms, wait ends ms, priority, method or false, when it was served or ended ms or
--               false, place or false, expected ms or false, array of items (name, token, tail, ttl ms, quantity), packed answers of what it
--               got or false
--               | NOT_FOUND, now_us, position | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(items * log waiting)

function ticket_read(keys, args)
  local _, cost, floor_at, id = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local t = tickets.read(id)
  if not t then
    return close_call('NOT_FOUND')
  elseif t.status == 'W' then
    tickets.touch(t)
  elseif t.status == 'G' then
    tickets.claim(t)
  end
  answer(tickets.row(t))
  return plan.finish()
end
