-- ticket_touch: calls are held open for these tickets: they live on.
--
-- function  ticket_touch
-- flags     allow-oom
-- keys      as ticket_read
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, array of tickets
-- returns       OK, now_us, position, then per ticket: whether it still waits; fewer than asked for where that is enough for one call
--               | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(tickets), bounded
function ticket_touch(keys, args)
  local _, cost, floor_at, ids = unpack_limit(args[2], 3, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  for n = 1, #ids do
    local t = tickets.read(ids[n])
    local waits = t and t.status == 'W'
    if waits then
      tickets.touch(t)
    end
    answer(waits and TRUE or FALSE)
    if is_piece_done() then
      break
    end
  end
  return plan.finish()
end
