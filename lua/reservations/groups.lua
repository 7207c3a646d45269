-- groups: planning transactions.
--
-- gives  plan_transactions, groups
local APPLIED, ROLLED_BACK = '\167APPLIED', '\171ROLLED_BACK'
local TAKEN = '\179TRANSACTION_APPLIED\168ACQUIRED\194\167RESERVE'
local GIVEN_BACK = '\179TRANSACTION_APPLIED\172RELINQUISHED\194\169UNRESERVE'
local SKIPPED_ANSWER, ROLLED_BACK_ANSWER = '\167SKIPPED', '\171ROLLED_BACK'
local CHANGE, CHANGES = '\151', '\220' -- packed: an array of seven; an array whose length follows in two bytes
local CHECKED_EVERY = 16 -- items, between close looks at the budget
-- Of the items of the group: name, status, reservation or false, where its answer is, packed requester.
local names, statuses, reservations, answer_at, requesters = {}, {}, {}, {}, {}
local changes = {}
groups = {}

-- Whether a requester holds something by a name: then FIRST takes that.
local function holds(name, tail)
  local requester = reservation.requester(tail)
  local packed = look(name)
  if not packed and DEFINITIONS then
    local record, slot = resolve(name)
    local mine = record and not slot and record.capacity > 1 and look(name .. '\0' .. requester)
    packed = mine and look(name .. '_' .. mine)
  end
  if not packed then
    return false
  end
  local _, _, _, _, token, holder, _, _, end_user = unpack_limit(packed, 8, 0)
  return holder == requester and token and not (caller.end_user and end_user ~= caller.end_user)
end

-- An item was not carried out; `text` is its answer.
local function cancel(n, name, status, text)
  names[n], statuses[n], reservations[n], answers[answer_at[n]] = name, status, false, text
end

-- What the event says of an item, packed: resource, requester, request, explanation, fence, deadline, pool. Mostly as the reservation has it.
local function change_of(n, request, is_release)
  local name, status, packed = names[n], statuses[n], reservations[n]
  local pool = packed and byte(packed, -1) ~= 0 and reservation.place(packed)
  return CHANGE .. text_heads[#name] .. name .. requesters[n] .. request .. text_heads[#status] .. status
    .. (packed and sub(packed, 1, 9) or FALSE) .. (packed and not is_release and byte(packed, 10) == UINT64 and sub(packed, 10, 18) or FALSE)
    .. (pool and text_head(pool) .. pool or FALSE)
end

-- The event of a group of `count` items; `said` is false where it was rolled back. `t`: the ticket that was served by it, or nil.
local function emit_group(method, request, count, said, t)
  local requester, is_release = requesters[1], request == 'UNRESERVE'
  local packed_request = text_head(request) .. request
  for n = 1, count do
    changes[n] = change_of(n, packed_request, is_release)
    requester = requester == requesters[n] and requester
  end
  local extra = (t and '\150' or '\146') .. text_head(method) .. method .. CHANGES .. put('>I2', count) .. concat(changes, '', 1, count)
    .. (t and pack(t.id, now_ms - t.since_ms, false, false) or '')
  local tail = (requester or FALSE) .. pack(false, false, false, false, 0)
  if said then
    emit(said, is_release and FALSE, no_term(), tail, false, extra)
  else
    events.refuse_group(text_head(request) .. request, tail, extra)
  end
end

-- Takes items 1 to `count` of the columns that were read. Answers whether the group stands, whether anything changed; or nil and why the call is
-- refused.
local function take_group(method, count, quantities)
  local of, token_of, tail_of, ttl_of = items.columns(count)
  local failed, had, acquired, chosen = false, false, false, nil
  for n = 1, method == 'FIRST' and count or 0 do
    if holds(of[n + 1], of[tail_of + n]) then
      chosen = n
      break
    end
  end
  local before, steps, first_answer, tail_before, packed_requester = mark(), budget.steps, answered, nil, nil
  for n = 1, count do
    local name, tail = of[n + 1], of[tail_of + n]
    if tail ~= tail_before then
      local requester = reservation.requester(tail)
      tail_before, packed_requester = tail, text_head(requester) .. requester
    end
    requesters[n], answer_at[n] = packed_requester, first_answer + n
    if method == 'FIRST' and (acquired or had) then
      answer(SKIPPED_ANSWER)
      cancel(n, name, 'SKIPPED', SKIPPED_ANSWER)
    else
      local single = chosen and n < chosen and mark()
      local status, physical, packed = take(name, of[token_of + n], tail, of[ttl_of + n], quantities and quantities[n])
      if status == 'TOO_MUCH_WORK' or status == 'TTL' then
        return nil, status
      end
      names[n], statuses[n], reservations[n] = physical or name, status, packed or false
      if single and packed then
        -- Free, but this requester has one further on: that one is the answer.
        undo(single)
        cancel(n, name, 'SKIPPED', SKIPPED_ANSWER)
      else
        acquired, had, failed = acquired or status == 'ACQUIRED', had or status == 'ALREADY_HAD', failed or not packed
      end
    end
    if spent > steps or n % CHECKED_EVERY == 0 and is_too_much() then
      return nil, 'TOO_MUCH_WORK'
    end
  end
  local stands = method == 'ALL_OR_NONE' and not failed or method ~= 'ALL_OR_NONE' and (acquired or had)
  if not stands then
    undo(before)
    for n = 1, count do
      if statuses[n] == 'ACQUIRED' or statuses[n] == 'ALREADY_HAD' and not holds(of[n + 1], of[tail_of + n]) then
        cancel(n, of[n + 1], 'ROLLED_BACK', ROLLED_BACK_ANSWER)
      end
    end
  end
  return stands, acquired and stands
end

-- The same for UNRESERVE. `items_before`: how many items of the call come before.
local function release_group(method, count, items_before)
  local of, token_of, who_of = items.columns(count)
  local conflict, free, released = false, false, false
  local before, steps, first_answer = mark(), budget.steps, answered
  for n = 1, count do
    local name, who = of[n + 1], of[who_of + n]
    requesters[n], answer_at[n] = who, first_answer + n
    local single = method == 'FIRST' and released and mark()
    local status, physical, packed = release(name, of[token_of + n], who)
    if status == 'INVALID_RELEASE_TOKEN' then
      items.note_wrong(items_before + n)
    end
    names[n], statuses[n], reservations[n] = physical or name, status, packed or false
    if single then
      undo(single)
      cancel(n, name, 'SKIPPED', SKIPPED_ANSWER)
    else
      released, free = released or status == 'RELINQUISHED', free or status == 'NOT_RESERVED'
      conflict = conflict or status == 'DOESNT_OWN_RESERVATION'
    end
    if spent > steps or n % CHECKED_EVERY == 0 and is_too_much() then
      return nil, 'TOO_MUCH_WORK'
    end
  end
  local stands = method == 'ALL_OR_NONE' and not conflict or method ~= 'ALL_OR_NONE' and (released or free)
  if not stands then
    undo(before)
    for n = 1, count do
      if statuses[n] == 'RELINQUISHED' then
        cancel(n, of[n + 1], 'ROLLED_BACK', ROLLED_BACK_ANSWER)
      end
    end
  end
  return stands, released and stands
end

-- Takes the items of a ticket. Answers whether the group stands, whether anything changed.
function groups.take(t)
  items.load(t.items)
  return take_group(t.method, #t.items, items.quantities_of(t.items))
end

-- The event of a ticket that was served.
function groups.emit_taken(t)
  emit_group(t.method, 'RESERVE', #t.items, TAKEN, t)
end

-- What the group of a ticket took: arrays of physical name and token.
function groups.held(list)
  local held = {}
  for n = 1, #list do
    if statuses[n] == 'ACQUIRED' then
      held[#held + 1] = { names[n], list[n][2] }
    end
  end
  return held
end

-- Whether one of the items will be had by nobody who does not hold it.
function groups.has_invalid(count)
  for n = 1, count do
    local status = statuses[n]
    if status == 'NOT_VALID' or status == 'ALREADY_HELD' and definitions.is_beyond(names[n]) then
      return true
    end
  end
  return false
end

-- What is in the way of a group that was rolled back: status, kind, name, holder, end, of the first item that was refused; nil where one is not
-- valid, for which nobody can wait.
local function cause_of(count)
  local first
  if groups.has_invalid(count) then
    return nil
  end
  for n = 1, count do
    local status = statuses[n]
    if not first and (status == 'ALREADY_HELD' or status == 'NOT_AVAILABLE') then
      first = { unpack_sequence(answers[answer_at[n]]) }
    end
  end
  return first
end

-- A transaction that waits where it cannot be done: `stands` and `changed` are how it went. Answers true where it waits now, or why the call is refused.
local function wait_for(t, wish, list, method, count, wait, stands, changed, head)
  if stands and t then
    local text, held = concat(answers, '', head, answered), changed and groups.held(list) or {}
    tickets.plan_grant(t, list, text, held)
  end
  local cause = wait and not stands and cause_of(count)
  if not cause then
    if t and wait and not stands then
      tickets.undo_again(t)
    end
    return false
  end
  local answered_then = answered
  answered = head - 1
  local why = wait_for_group(t, method, list, wish, wait, cause)
  answered = answered_then -- what became of the items stands behind it
  return why == 'WAITING_LIMIT' and why or is_too_much() and 'TOO_MUCH_WORK' or true
end

-- Plans the transactions behind `at`. Answers nil, or why the call is refused, and how many items it has.
function plan_transactions(packed, at)
  local total, items_before, is_over = nil, 0, false
  calls.start()
  at, total = unpack_limit(packed, 1, at)
  for _ = 1, total do
    local method, request, count, quantities, wait
    at, method, request, count, quantities, wait = unpack_limit(packed, 5, at)
    at = items.read(packed, at, count, request == 'RESERVE' and 0 or count)
    if wait and not LINES then
      return 'KEYS', items_before
    end
    local list = request == 'RESERVE' and ticket_count + (wait and 1 or 0) > 0 and items.list(count, quantities)
    local wish = list and tickets.wish(method, list)
    local t = wish and tickets.find(wish)
    local position_then, stands, changed, is_waiting = position, nil, nil, false
    group_at = next_position()
    answer(APPLIED)
    local head = answered
    if request == 'RESERVE' then
      if list then
        local is_in_line = t and t.status == 'W'
        if is_in_line and wait then
          tickets.plan_again(t, list, wait)
        end
        lines.stand_at(is_in_line and t.order or wait and lines.order_of(wait[2]))
      end
      stands, changed = take_group(method, count, items.quantities(quantities))
      if list then
        lines.stand_at(nil)
      end
    else
      stands, changed = release_group(method, count, items_before)
    end
    group_at, items_before = nil, items_before + count
    if stands == nil then
      return changed, items_before
    end
    if not changed then
      position = position_then
    end
    if wait or t then
      is_waiting = wait_for(t and t.status == 'W' and t or nil, wish, list, method, count, wait, stands, changed, head)
      if is_waiting and is_waiting ~= true then
        return is_waiting, items_before
      elseif t and t.status == 'G' then
        tickets.plan_claim(t)
      end
    end
    for n = 1, list and count or 0 do
      if statuses[n] == 'ALREADY_HAD' then
        tickets.claim_shown(false, { list[n] })
      end
    end
    if not is_waiting and not stands then
      answers[head] = ROLLED_BACK
    end
    if not is_waiting and (changed or not stands) then
      emit_group(method, request, count, changed and (request == 'RESERVE' and TAKEN or GIVEN_BACK), changed and t and t.status == 'W' and t or nil)
    end
    is_over = is_over or calls.is_over_limit()
  end
  return items.wrong_count > 0 and 'BAD_TOKEN' or is_over and 'LIMIT' or nil, items_before
end
