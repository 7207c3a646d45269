-- wait: what cannot be had now is waited for.
--
-- gives  take_or_wait, wait_for_group
-- A wait, as it is sent: how long ms, priority, keep alive ms, ticket, and of a transaction whether it lets others pass.
local CHAIN_MOST = 32 -- requesters of a circle
local TICKETS_MOST = 64 -- tickets that are looked at in search of one
local ITEM_STEPS = 6 -- of a new ticket, beyond what is counted where it is done: the wish, the search for a circle, the place, the event
local HOLDERS_MOST = 16 -- of those who hold something of a tree in the way of one name

-- Adds to a list who else holds what a requester needs for a name.
local function add_holders(holders, requester, name)
  local record = resolve(name)
  local packed = look(name)
  local holder = packed and reservation.holder(packed)
  if holder and holder ~= requester then
    holders[#holders + 1] = holder
  end
  if record then
    tree.add_strangers(holders, record, requester, HOLDERS_MOST)
  end
  return record
end

-- Requesters who would wait for each other in a circle if these items were waited for, or nil. Pools with several slots close no circle: any of
-- them may be given back.
local function circle_of(list)
  local looked_at, seen, asking_too = 0, {}, {}
  local follow

  -- The same of what a requester waits for by the tickets that he has.
  local function follow_tickets(who, depth)
    local members = lines.range('r' .. who, TICKETS_MOST, lines.LAST)
    for n = 1, #members do
      looked_at = looked_at + 1
      local t = looked_at <= TICKETS_MOST and tickets.read(lines.ticket(members[n]))
      local chain = t and t.status == 'W' and (not t.method or t.method == 'ALL_OR_NONE') and follow(t.items, depth)
      if chain then
        return chain
      end
    end
  end

  function follow(items, depth)
    for n = 1, #items do
      local who, holders = reservation.requester(items[n][3]), {}
      local record = add_holders(holders, who, items[n][1])
      for block = 1, record and #record.blocks or 0 do
        add_holders(holders, who, record.blocks[block])
      end
      for at = 1, #holders do
        local holder = holders[at]
        if asking_too[holder] then
          return { who }
        elseif not seen[holder] and depth < CHAIN_MOST then
          seen[holder] = true
          local chain = follow_tickets(holder, depth + 1)
          if chain then
            table.insert(chain, 1, who)
            return chain
          end
        end
      end
    end
  end

  for n = 1, #list do
    asking_too[reservation.requester(list[n][3])] = true
  end
  return follow(list, 1)
end

-- Takes its place or keeps it, and answers it. `t`: the ticket of the same wish, or nil. `cause`: what is in the way.
local function stand_in_line(t, method, list, wish, wait, cause)
  local wait_ms, priority, keep_alive_ms, id, overtake = unpack(wait)
  local wait_ends_ms, place, next_requester = now_ms + wait_ms, nil, nil
  if t then
    tickets.ask_again(t, wait_ends_ms)
    place, next_requester = tickets.place(t)
  else
    spent = spent + ITEM_STEPS * #list
    if is_too_much() then
      return 'TOO_MUCH_WORK'
    end
    local circle = (not method or method == 'ALL_OR_NONE') and circle_of(list)
    if circle then
      answer(pack('D', circle))
      return 'WOULD_DEADLOCK'
    elseif caller.waiting_limit > 0 and waiting_count >= caller.waiting_limit then
      return 'WAITING_LIMIT'
    end
    t = tickets.new(id)
    t.method, t.items, t.wish, t.priority, t.keep_alive_ms, t.wait_ends_ms, t.overtake = method, list, wish, priority, keep_alive_ms, wait_ends_ms,
      overtake or false
    place, next_requester = tickets.join(t, cause)
  end
  answer(pack('W', t.id, place, t.wait_ends_ms, tickets.expected(t, place) or false, next_requester, unpack(cause, 1, 7)))
  return 'WAITING'
end

-- As `take`; what cannot be had is waited for.
function take_or_wait(wait, name, token, tail, ttl_ms, quantity)
  local list = { { name, token, tail, ttl_ms, quantity or 1 } }
  local wish = tickets.wish(false, list)
  local known = tickets.find(wish)
  local t = known and known.status == 'W' and known or nil
  if t then
    tickets.plan_again(t, list, wait)
  end
  lines.stand_at(t and t.order or lines.order_of(wait[2]))
  asking = { is_silent = true, extra = t and tickets.extra(t, now_ms - t.since_ms) or nil }
  local status, physical, packed = take(name, token, tail, ttl_ms, quantity)
  local cause = asking.cause
  asking = nil
  lines.stand_at(nil)
  if packed and t then
    tickets.plan_grant(t, list, answers[answered], status == 'ACQUIRED' and { { physical, token } } or {})
  elseif known and not t then
    tickets.plan_claim(known) -- it was served, and this answer says what is left of that
  elseif t and not cause then
    tickets.undo_again(t)
  end
  if cause then
    return stand_in_line(t, false, list, wish, wait, cause)
  end
  return status, physical, packed
end

-- A transaction that would be rolled back waits. `cause` as above.
function wait_for_group(t, method, list, wish, wait, cause)
  return stand_in_line(t, method, list, wish, wait, cause)
end
