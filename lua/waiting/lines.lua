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
local QUANTITY_MOST = 65535
-- A member longer than 64 bytes, while anybody waits: a sorted set that holds none is a list in Redis while it is short, and slow to look in.
local SENTINEL = '\0' .. string.rep('x', 64)
local SLOT_LINES_MOST = 500 -- lines of names that look like slots of one that is registered anew
lines.order, lines.LAST = NO_ORDER, '\255' -- LAST: behind every ticket
-- Kind and name -> what joins in this call, a list in order; under `leaving` the set of what leaves. Written at the call's end.
local changed, is_changed = {}, false
local has_after, is_asked = {}, false -- requester -> whether a ticket of his is written that comes after who asks without waiting

function lines.order_of(priority, at)
  return put('>I2', PRIORITY_MOST - priority) .. (at and put('>I8', at) or NEWEST)
end

-- What an order is compared by: rank and position, as numbers.
local function place_of(order)
  if order == lines.LAST then
    return math.huge, 0
  end
  return take_apart('>I2I8', order)
end

local function comes_before(member, rank, at)
  local its_rank, its_at = take_apart('>I2I8', member, #member - LENGTH + 1)
  return its_rank < rank or its_rank == rank and its_at < at
end

-- How many of a list in order come before a place.
local function count_before(list, rank, at)
  local low, high = 0, #list
  while low < high do
    local middle = floor((low + high + 1) / 2)
    if comes_before(list[middle], rank, at) then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- What changes of a member's line.
local function line_of(member)
  local prefix = sub(member, 1, -LENGTH - 2)
  local line = changed[prefix]
  if not line then
    line = {}
    changed[prefix], is_changed = line, true
  end
  return line
end

-- Where a member that joins stands in its line, or where it would, and whether it stands there.
local function index_of(line, member)
  if not line[1] then
    return 1, false
  end
  local at = count_before(line, place_of(sub(member, -LENGTH))) + 1
  return at, line[at] == member
end

-- For the rest of the call members are in line.
function lines.join(members)
  for n = 1, #members do
    local member = members[n]
    local line = line_of(member)
    if line.leaving and line.leaving[member] then
      line.leaving[member] = nil -- as it is written
    else
      local at, is_there = index_of(line, member)
      if not is_there then
        table.insert(line, at, member)
      end
    end
  end
  spent = spent + #members / budget.turns
end

-- For the rest of the call members are in line no longer.
function lines.leave(members)
  for n = 1, #members do
    local member = members[n]
    local line = line_of(member)
    local at, is_there = index_of(line, member)
    if is_there then
      table.remove(line, at)
    else
      line.leaving = line.leaving or {}
      line.leaving[member] = true
    end
  end
  spent = spent + #members / budget.turns
end

function lines.start()
  lines.led = nil
  if is_changed then
    changed, is_changed = {}, false
  end
  if is_asked then
    has_after, is_asked = {}, false
  end
end

-- Whether a requester may have a ticket that comes after who asks without waiting: no other one can he serve by asking so. It is looked for once.
function lines.has_after(requester)
  local prefix = 'r' .. requester
  local has = has_after[requester]
  if has == nil then
    spent = spent + 1
    has = call('ZRANGE', LINES, '(' .. prefix .. '\0' .. NO_ORDER, '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', '0', '1')[1] ~= nil
    has_after[requester], is_asked = has, true
  end
  local line = is_changed and changed[prefix]
  return has or line and line[1]
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

-- The name of the line in which a member stands.
function lines.name(member)
  return sub(member, 2, -LENGTH - 2)
end

-- What members of different lines are compared by.
function lines.key(member)
  return sub(member, -LENGTH, -3)
end

-- What changes of a line, if anything; of its members that come before an order how many join in this call, and how many leave.
local function changes_before(prefix, order)
  local line = changed[prefix]
  if not line then
    return nil, 0, 0
  end
  local rank, at = place_of(order)
  local leaving, turns = 0, 1
  for member in pairs(line.leaving or {}) do
    if comes_before(member, rank, at) then
      leaving = leaving + 1
    end
    turns = turns + 1
  end
  spent = spent + turns / budget.turns
  return line, count_before(line, rank, at), leaving
end

-- Members of a line that come before an order: at most `count` of those that are written, then as many of those that join in this call.
function lines.range(prefix, count, order)
  local line, joining, leaving = nil, 0, 0
  if is_changed then
    line, joining, leaving = changes_before(prefix, order)
  end
  spent = spent + 1
  local found = call('ZRANGE', LINES, '[' .. prefix .. '\0', '(' .. prefix .. '\0' .. order, 'BYLEX', 'LIMIT', '0', digits(count + leaving))
  if not line then
    return found
  end
  local list = {}
  for n = 1, #found do
    if not (line.leaving and line.leaving[found[n]]) then
      list[#list + 1] = found[n]
    end
  end
  for n = 1, min(joining, count) do
    list[#list + 1] = line[n]
  end
  return list
end

local function range(prefix, count)
  return lines.range(prefix, count, lines.order)
end

-- Whether somebody in a line comes before who asks. `lines.led`: in that line he is known to be the first.
local function is_before(prefix)
  return prefix ~= lines.led and range(prefix, 1)[1]
end

-- The member of a line that comes first of those before an order, or nil.
function lines.first(prefix, order)
  local members = lines.range(prefix, 1, order)
  local first = members[1]
  for n = 2, #members do
    if precedes(lines.key(members[n]), lines.key(first)) then
      first = members[n]
    end
  end
  return first
end

-- How many tickets in a line come before who asks.
function lines.ahead(prefix, order)
  spent, order = spent + 1, order or lines.order
  local count = call('ZLEXCOUNT', LINES, '[' .. prefix .. '\0', '(' .. prefix .. '\0' .. order)
  if not is_changed then
    return count
  end
  local _, joining, leaving = changes_before(prefix, order)
  return count + joining - leaving
end

-- How many tickets want a name.
function lines.waiting(name)
  return waiting_count > 0 and LINES and lines.ahead('w' .. name, lines.LAST) + lines.ahead('o' .. name, lines.LAST) or 0
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
  return call('ZLEXCOUNT', LINES, '[s' .. pool .. '\0', '(s' .. pool .. '\1') > 0 or is_changed
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
  if is_before('w' .. physical) then
    return lines.ahead('w' .. physical)
  elseif not record then
    return nil
  end
  for n = 1, record.depth do
    if is_before('w' .. record.ancestors[n]) then
      return lines.ahead('w' .. record.ancestors[n])
    end
  end
  if record.children > 0 and is_before('d' .. record.name) then
    return lines.ahead('d' .. record.name)
  end
end

-- The lines in which a ticket for a name stands, without order: kind and name, with the quantity, added to a list.
local function add_places(list, record, slot, name, passes)
  list[#list + 1] = (passes and 'o' or 'w') .. name
  if slot then
    list[#list + 1] = 's' .. record.name
  end
  for n = 1, record and record.depth or 0 do
    list[#list + 1] = (passes and 'e' or 'd') .. record.ancestors[n]
  end
end

-- All members of a ticket. Several requesters may want slots of one pool, and each has his own; what is taken along is shared.
function lines.members(ticket)
  local first = ticket.items[1]
  if not ticket.items[2] and not resolve(first[1]) then -- it stands alone, as most do
    local rest = '\0' .. ticket.order .. ticket.id
    spent = spent + 5 + (#first[1] + #first[3]) / budget.step_bytes
    return { (ticket.overtake and 'o' or 'w') .. first[1] .. rest .. put('>I2', min(first[5], QUANTITY_MOST)),
      'r' .. reservation.requester(first[3]) .. rest .. '\0\0' }
  end
  local places, members, quantities, wants = {}, {}, {}, ticket.overtake and 'o' or 'w'
  for n = 1, #ticket.items do
    local item = ticket.items[n]
    local record, slot = resolve(item[1])
    spent = spent + (#item[1] + #item[3]) / budget.step_bytes
    quantities[wants .. item[1]] = min((quantities[wants .. item[1]] or 0) + item[5], QUANTITY_MOST)
    add_places(places, record, slot, item[1], ticket.overtake)
    for block = 1, record and #record.blocks or 0 do
      local name = record.blocks[block]
      local blocker, blocker_slot = resolve(name)
      quantities[wants .. name] = quantities[wants .. name] or 1
      add_places(places, blocker, blocker_slot, name, ticket.overtake)
    end
    places[#places + 1] = 'r' .. reservation.requester(item[3])
  end
  local seen = {}
  for n = 1, #places do
    local place = places[n]
    if not seen[place] then
      seen[place], members[#members + 1] = true, place .. '\0' .. ticket.order .. ticket.id .. put('>I2', quantities[place] or 0)
    end
    spent = spent + 2
  end
  return members
end

-- The lines, kind and name, in which those stand whom a thing that became free may serve.
function lines.served_by(name)
  local list = { 'w' .. name, 'o' .. name }
  local record, slot = resolve(name)
  if record then
    if slot then
      list[#list + 1], list[#list + 2] = 'w' .. record.name, 'o' .. record.name
    end
    if record.capacity > 1 then
      list[#list + 1] = 's' .. record.name
    end
    list[#list + 1], list[#list + 2] = 'd' .. record.name, 'e' .. record.name
    for n = 1, record.depth do
      list[#list + 1], list[#list + 2] = 'w' .. record.ancestors[n], 'o' .. record.ancestors[n]
    end
    spent = spent + record.depth / budget.turns
  end
  return list
end

-- Adds the lines of names that look like slots of a name, so many at most.
function lines.add_like_slots(list, name)
  for _, kind in ipairs({ 'w', 'o' }) do
    local from, to = '[' .. kind .. name .. '_0', '(' .. kind .. name .. '_:'
    for _ = 1, SLOT_LINES_MOST do
      spent = spent + 1
      local member = call('ZRANGE', LINES, from, to, 'BYLEX', 'LIMIT', '0', '1')[1]
      if not member then
        break
      end
      local prefix = sub(member, 1, -LENGTH - 2)
      list[#list + 1], from = prefix, '[' .. prefix .. '\1'
    end
  end
end

function lines.add(members)
  local arguments = {}
  for n = 1, #members do
    arguments[2 * n - 1], arguments[2 * n] = '0', members[n]
  end
  if 2 * waiting_count <= #members then -- before, nobody waited: a ticket has at least two
    arguments[#arguments + 1], arguments[#arguments + 2] = '0', SENTINEL
  end
  spent = spent + #members / 2
  stage.run_in_pieces('ZADD', LINES, arguments, #arguments)
end

function lines.remove(members)
  spent = spent + #members / 2
  if waiting_count == 0 then
    members = { SENTINEL, unpack(members) }
  end
  stage.run_in_pieces('ZREM', LINES, members, #members)
end

-- Writes what the call has changed.
function lines.write()
  local joining, leaving = {}, {}
  for _, line in pairs(changed) do
    for n = 1, #line do
      joining[#joining + 1] = line[n]
    end
    for member in pairs(line.leaving or {}) do
      leaving[#leaving + 1] = member
    end
  end
  lines.start()
  if leaving[1] then
    lines.remove(leaving)
  end
  if joining[1] then
    lines.add(joining)
  end
end
