-- ticket_cancel: a ticket waits no longer; what it was granted and nobody has seen is given back.
--
-- function  ticket_cancel
-- flags     allow-oom
-- keys      as ticket_read
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, ticket
-- returns       OK, now_us, position, then as ticket_read of one | CLAIMED, now_us, position: it was granted and seen; its token gives it back
--               | NOT_FOUND, now_us, position | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(items * log waiting)
-- invariants    what it kept from others goes to the next
local UNRESERVED = '\170UNRESERVED\172RELINQUISHED\194\169UNRESERVE'

function ticket_cancel(keys, args)
  local _, cost, floor_at, id = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  local t = tickets.read(id)
  if not t then
    return close_call('NOT_FOUND')
  elseif t.status == 'A' then
    return close_call('CLAIMED')
  elseif t.status == 'G' then
    tickets.give_back(t, UNRESERVED, caller.packed_label)
    tickets.finish(t, 'C', caller.packed_label)
  elseif t.status == 'W' then
    tickets.finish(t, 'C', caller.packed_label)
  end
  answer(tickets.row(t))
  return plan.finish()
end
