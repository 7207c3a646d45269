-- begin: how each call that works on reservations begins and ends.
--
-- gives  plan
-- A call is planned to its end in memory; `finish` writes it. What remains from one call to the next are pure functions of bytes and tables that
-- `start_plan` empties, so an error in the middle of a call leaves nothing to the next.

plan = {}

function plan.name_keys(keys)
  local _
  _, HELD, DEADLINES, HISTORY, DUE, DEFINITIONS, INDEX, SLOTS, LINES, TICKETS, TICKET_ENDS, LINKS = unpack(keys)
  if DEFINITIONS then
    definitions.reset()
  end
end

-- Where somebody waits, or did a little while ago, calls name the keys of tickets, too: KEYS asks to be called again with them.
function plan.lacks_keys(keys, waits)
  backlog = 0
  return (ticket_count > 0 or waits) and not keys[9] and outcome('KEYS')
end

-- Opens the call; `waits`: something of it may be waited for. Answers a refusal, or nil.
function plan.begin(keys, packed_caller, cost, floor_at, waits)
  local refusal = open(keys[1], floor_at) or plan.lacks_keys(keys, waits) or admit(packed_caller, cost)
  if refusal then
    return refusal
  end
  plan.name_keys(keys)
end

-- Empties what calls plan in.
function plan.start()
  reset_stage()
  events.reset()
  reset_plan()
  if DEFINITIONS then
    pools.reset()
  end
  tickets.start()
  start_hand_over()
  lines.stand_at(nil)
  plan.position_before, plan.held_before, plan.waiting_before, plan.tickets_before = position, held_count, waiting_count, ticket_count
end

-- What comes before anything is decided: what has lapsed ends, what is held learns of new pools. Answers AGAIN when there is more of it than one
-- call may do, or nil.
function plan.prepare()
  plan.start()
  plan.has_prepared = due and due <= now_ms or unsettled > 0
  if due and due <= now_ms and end_lapsed() or unsettled > 0 and DEFINITIONS and settle() then
    return outcome('AGAIN')
  end
end

-- What a call is answered that would take too much: what was done before it is done now, so the same call takes less.
function plan.too_much()
  return plan.has_prepared and 'AGAIN' or 'TOO_MUCH_WORK'
end

function plan.head()
  return put('>BI8c3BI8BI8', UINT64, backlog, '\162OK', UINT64, now_us, UINT64, position)
end

-- Writes and publishes what was planned.
function plan.write()
  if ticket_count > 0 then
    tickets.write_planned()
    if tickets.has_freed() then
      hand_over()
    end
  end
  if DEFINITIONS then
    pools.write()
  end
  write_stage()
  events.publish()
end

-- Writes what was planned and answers it.
function plan.finish()
  plan.write()
  answers[0] = plan.head()
  return events.join(answers, 0, answered)
end
