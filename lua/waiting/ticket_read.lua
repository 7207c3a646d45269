-- ticket_read: what became of tickets, or their places in line. Asking for one keeps it alive, and what it got is claimed by being shown.
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
--   2 call         packed: cost, floor, array of tickets
-- returns       OK, now_us, position, then per ticket false: there is none, or status (W, A, T, L or C), since ms, wait ends ms, priority, method or false, when it was served or ended ms or
--               false, place or false, expected ms or false, array of items (name, token, tail, ttl ms, quantity), packed answers of what it
--               got or false; fewer than asked for where that is enough for one call
--               | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(items * log waiting), bounded
local ENOUGH_BYTES = 256 * 1024

function ticket_read(keys, args)
  local _, cost, floor_at, ids = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local size = 0
  for n = 1, #ids do
    local t = tickets.read(ids[n])
    if t and t.status == 'W' then
      tickets.touch(t)
    elseif t and t.status == 'G' then
      tickets.claim(t)
    end
    local row = t and tickets.row(t) or FALSE
    answer(row)
    size = size + #row
    if is_piece_done() or size > ENOUGH_BYTES then
      break
    end
  end
  return plan.finish()
end
