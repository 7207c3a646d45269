-- reset: end every reservation and every wait of the tenant at once. What is registered stays; tickets read as cancelled.
--
-- function  reset
-- flags     allow-oom
-- keys      as reserve
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor
-- returns       OK, now_us, position, number of physical resources freed (each slot and blocker counts) | AGAIN, STALE, RATE, KEYS as reserve
-- cost          O(1) and the bitmap's bytes; the memory is given back in Redis' background thread
-- invariants    one RESET event, also when nothing was held: whoever asked can see it done
local RESET = '\165RESET\194\194\194' -- packed: type, no explanation, reason or request

function reset(keys, args)
  local _, cost, floor_at = unpack_limit(args[2], 2, 0)
  local refusal = plan.begin(keys, args[1], cost, floor_at) or plan.prepare()
  if refusal then
    return refusal
  end
  -- What `prepare` had to do is written: nothing staged is left to bring back what goes now.
  local count = held_count
  call('UNLINK', HELD, DEADLINES)
  if DEFINITIONS then
    call('UNLINK', INDEX)
    registry.seed_index()
    pools.clear()
  end
  held_count = 0
  tickets.reset()
  if due and ticket_count == 0 then
    due = false
    call('ZREM', DUE, caller.tenant)
  end
  next_position()
  emit(RESET, FALSE, no_term(), pack(false, false, false, false, false, 0), false, FALSE)
  answer(pack(count))
  return plan.finish()
end
