-- lines: who waits for what, in the tenant's one order.
--
-- gives  LINES, lines
-- Members of `lines`, all scores 0: kind, name, NUL, order, ticket, quantity. The order is ten bytes: priority, the greater first, then the position
-- at which the ticket came; so members sort as tickets are served, and no two groups can wait for each other in a circle.
--   w name    a ticket wants it, by its name or as a blocker: nobody who comes later may have it
--   d name    a ticket wants something that stands below it in the tree: nobody who comes later may have the place above
--   o, e      the same of a ticket that lets others pass
--   s name    a ticket wants a slot of this pool by the slot's own name
--   r name    a requester's tickets: what it has got by one may be all that another wanted
lines = {}
local NEWEST = '\255\255\255\255\255\255\255\255'
local NO_ORDER = '\3\232' .. NEWEST -- of who has no ticket: priority 0, and after all who wait
local PRIORITY_MOST = 1000
local AHEAD_MOST = 64 -- tickets for a pool that are looked at; behind so many nobody passes
local LENGTH = 44 -- bytes of order, ticket and quantity
lines.order = NO_ORDER
local staged, is_staged = {}, false -- kind and name -> members of tickets that joined in this call

function lines.order_of(priority, at)
  return put('>I2', PRIORITY_MOST - priority) .. (at and put('>I8', at) or NEWEST)
end

-- Members that are in line for who asks later in this call, and are written at its end.
function lines.stage(members)
  is_staged = true
  for n = 1, #members do
    local prefix = sub(members[n], 1, -LENGTH - 2)
    local line = staged[prefix] or {}
    staged[prefix], line[#line + 1] = line, members[n]
  end
end

function lines.drop_staged()
  if is_staged then
    staged, is_staged = {}, false
  end
end

-- From here on who asks comes at this place of the order; nil: after all who wait.
function lines.stand_at(order)
  lines.order = order or NO_ORDER
end

-- Order, ticket and quantity of a member.
function lines.parts(member)
  return sub(member, -LENGTH, -35), sub(member, -34, -3), (take_apart('>I2', member, #member - 1))
end

function lines.ticket(member)
  return sub(member, -34, -3)
end

-- What members of different lines are compared by.
function lines.key(member)
  return sub(member, -LENGTH, -3)
end

-- Adds the staged members of a line that come before an order to a list.
local function add_staged(list, prefix, order)
  local line, to = staged[prefix], prefix .. '\0' .. order
  for n = 1, line and #line or 0 do
    if precedes(line[n], to) then
      list[#list + 1] = line[n]
    end
  end
  spent = spent + (line and #line or 0) / budget.turns
  return list
end

local function range(prefix, count)
  spent = spent + 1
  local found = call('ZRANGE', LINES, '[' .. prefix .. '\0', '(' .. prefix .. '\0' .. lines.order, 'BYLEX', 'LIMIT', '0', digits(count))
  return is_staged and add_staged(found, prefix, lines.order) or found
end

-- How many tickets in a line come before who asks.
function lines.ahead(prefix, order)
  spent, order = spent + 1, order or lines.order
  local count = call('ZLEXCOUNT', LINES, '[' .. prefix .. '\0', '(' .. prefix .. '\0' .. order)
  return is_staged and count + #add_staged({}, prefix, order) or count
end

-- How many tickets want a name.
function lines.waiting(name)
  return waiting_count > 0 and LINES and lines.ahead('w' .. name, '\255') + lines.ahead('o' .. name, '\255') or 0
end

-- What tickets that come before want of a pool's slots; beyond any number where they are too many to look at.
local function wanted_before(pool)
  local members, wanted = range('w' .. pool, AHEAD_MOST + 1), 0
  if #members > AHEAD_MOST then
    return math.huge
  end
  for n = 1, #members do
    local _, _, quantity = lines.parts(members[n])
    wanted = wanted + quantity
  end
  return wanted
end

-- Whether tickets want slots of a pool by the slots' own names.
function lines.has_slots(pool)
  spent = spent + 1
  return call('ZLEXCOUNT', LINES, '[s' .. pool .. '\0', '(s' .. pool .. '\1') > 0 or is_staged
end

-- The lowest free slot of a pool that is not kept by its own name, where there are as many as wanted; or nil.
function lines.lowest_open(pool, wanted)
  local to, lowest = mark(), nil
  local number = pools.lowest_free(pool, wanted)
  while number and wanted > 0 and not is_too_much() do
    if not range('w' .. pool.name .. '_' .. text_of(number), 1)[1] then
      lowest, wanted = lowest or number, wanted - 1
    end
    pools.take(pool, number)
    number = wanted > 0 and pools.lowest_free(pool, wanted)
  end
  undo(to)
  return wanted == 0 and lowest or nil
end

-- Whether something free is kept for tickets that come before who asks: for how many, or nil.
function lines.kept_for(name, physical, record, slot, quantity)
  if record and record.capacity > 1 then
    if pools.free(record) - wanted_before(record.name) < quantity then
      return lines.ahead('w' .. record.name)
    end
  end
  if range('w' .. physical, 1)[1] then
    return lines.ahead('w' .. physical)
  elseif not record then
    return nil
  end
  for n = 1, record.depth do
    if range('w' .. record.ancestors[n], 1)[1] then
      return lines.ahead('w' .. record.ancestors[n])
    end
  end
  if record.children > 0 and range('d' .. record.name, 1)[1] then
    return lines.ahead('d' .. record.name)
  end
end

-- The lines in which a ticket for a name stands, without order: kind and name, with the quantity, added to a list.
local function add_places(list, record, slot, name, quantity, passes)
  list[#list + 1] = { (passes and 'o' or 'w') .. name, quantity }
  if slot then
    list[#list + 1] = { 's' .. record.name, 0 }
  end
  for n = 1, record and record.depth or 0 do
    list[#list + 1] = { (passes and 'e' or 'd') .. record.ancestors[n], 0 }
  end
end

-- All members of a ticket: `wants` are pairs of name and quantity, in turn.
function lines.members(ticket)
  local places, members, seen = {}, {}, {}
  for n = 1, #ticket.items do
    local item = ticket.items[n]
    local record, slot = resolve(item[1])
    spent = spent + (#item[1] + #item[3]) / budget.step_bytes
    add_places(places, record, slot, item[1], item[5], ticket.overtake)
    for block = 1, record and #record.blocks or 0 do
      local name = record.blocks[block]
      local blocker, blocker_slot = resolve(name)
      add_places(places, blocker, blocker_slot, name, 1, ticket.overtake)
    end
    places[#places + 1] = { 'r' .. reservation.requester(item[3]), 0 }
  end
  for n = 1, #places do
    local member = places[n][1] .. '\0' .. ticket.order .. ticket.id
    if not seen[member] then
      seen[member], members[#members + 1] = true, member .. put('>I2', places[n][2])
    end
    spent = spent + 2
  end
  return members
end

-- The lines, kind and name, in which those stand whom a thing that became free may serve, added to a list and a set.
function lines.add_served_by(name, list, seen)
  local function add(prefix)
    if not seen[prefix] then
      seen[prefix], list[#list + 1] = true, prefix
    end
  end
  local record, slot = resolve(name)
  add('w' .. name)
  add('o' .. name)
  if record then
    if slot then
      add('w' .. record.name)
      add('o' .. record.name)
    end
    if record.capacity > 1 then
      add('s' .. record.name)
    end
    add('d' .. record.name)
    add('e' .. record.name)
    for n = 1, record.depth do
      add('w' .. record.ancestors[n])
      add('o' .. record.ancestors[n])
    end
    spent = spent + record.depth / budget.turns
  end
end

function lines.add(members)
  local arguments = {}
  for n = 1, #members do
    arguments[2 * n - 1], arguments[2 * n] = '0', members[n]
  end
  spent = spent + #members / 2
  run_in_pieces('ZADD', LINES, arguments, #arguments)
end

function lines.remove(members)
  spent = spent + #members / 2
  run_in_pieces('ZREM', LINES, members, #members)
end
