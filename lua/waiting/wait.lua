-- wait: what cannot be had now is waited for.
--
-- gives  take_or_wait, wait_for_group
-- A wait, as it is sent: how long ms, priority, keep alive ms, ticket, and of a transaction whether it lets others pass.
local CHAIN_MOST = 32 -- requesters of a circle
local TICKETS_MOST = 64 -- tickets that are looked at in search of one

-- Who else holds what a requester needs for a name, or nil.
local function holder_in_way(requester, name)
  local packed = look(name)
  local holder = packed and reservation.holder(packed)
  if holder and holder ~= requester then
    return holder
  end
  local record = resolve(name)
  if not record then
    return nil
  end
  local _, _, other = tree.refusal(record, requester)
  if other then
    return other
  end
  for n = 1, #record.blocks do
    local block = look(record.blocks[n])
    local user = block and reservation.holder(block)
    if user and user ~= requester then
      return user
    end
  end
end

-- Requesters who would wait for each other in a circle if this one waited for these items, or nil. Pools with several slots close no circle: any of
-- them may be given back.
local function circle_of(requester, list)
  local looked_at, seen = 0, {}
  local function follow(who, wants, depth)
    for n = 1, #wants do
      local holder = holder_in_way(who, wants[n][1])
      if holder == requester then
        return { who }
      elseif holder and not seen[holder] and depth < CHAIN_MOST then
        seen[holder] = true
        local members = call('ZRANGE', LINES, '[r' .. holder .. '\0', '(r' .. holder .. '\1', 'BYLEX', 'LIMIT', '0', digits(TICKETS_MOST))
        spent = spent + 1
        for at = 1, #members do
          looked_at = looked_at + 1
          local t = looked_at <= TICKETS_MOST and tickets.read(lines.ticket(members[at]))
          if t and t.status == 'W' and (not t.method or t.method == 'ALL_OR_NONE') then
            local chain = follow(holder, t.items, depth + 1)
            if chain then
              table.insert(chain, 1, who)
              return chain
            end
          end
        end
      end
    end
  end
  return follow(requester, list, 1)
end

-- Takes its place or keeps it, and answers it. `t`: the ticket of the same wish, or nil. `cause`: what is in the way.
local function stand_in_line(t, method, list, wish, wait, cause)
  local wait_ms, priority, keep_alive_ms, id, overtake = unpack(wait)
  local wait_ends_ms = now_ms + wait_ms
  if t then
    t.wait_ends_ms = max(t.wait_ends_ms, wait_ends_ms)
    tickets.later(function()
      tickets.ask_again(t, keep_alive_ms)
    end)
  else
    local circle = (not method or method == 'ALL_OR_NONE') and circle_of(reservation.requester(list[1][3]), list)
    if circle then
      answer(pack('D', circle))
      return 'WOULD_DEADLOCK'
    elseif caller.waiting_limit > 0 and waiting_count >= caller.waiting_limit then
      return 'WAITING_LIMIT'
    end
    t = { id = id, method = method, items = list, wish = wish, priority = priority, keep_alive_ms = keep_alive_ms, wait_ends_ms = wait_ends_ms,
      overtake = overtake or false }
    tickets.join(t, cause)
  end
  local status, kind, conflict, holder, until_ms = unpack(cause)
  answer(pack('W', t.id, tickets.place(t), t.wait_ends_ms, tickets.expected(t) or false, status, kind, conflict, holder or false, until_ms or false))
  return 'WAITING'
end

-- As `take`; what cannot be had is waited for.
function take_or_wait(wait, name, token, tail, ttl_ms, quantity)
  local list = { { name, token, tail, ttl_ms, quantity or 1 } }
  local wish = tickets.wish(false, list)
  local known = tickets.find(wish)
  local t = known and known.status == 'W' and known or nil
  if t then
    tickets.plan_priority(t, wait[2])
  end
  lines.stand_at(t and t.order or lines.order_of(wait[2]))
  asking = { is_silent = true, extra = t and tickets.extra(t, now_ms - t.since_ms) or nil }
  local status, physical, packed = take(name, token, tail, ttl_ms, quantity)
  local cause = asking.cause
  asking = nil
  lines.stand_at(nil)
  if packed and t then
    local text, held = answers[answered], status == 'ACQUIRED' and { { physical, token } } or {}
    tickets.later(function()
      tickets.grant(t, text, held, true)
    end)
  end
  if known and not t then
    tickets.later(function() -- it was served, and this answer says what is left of that
      tickets.claim(known)
    end)
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
