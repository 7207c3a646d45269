-- hand_over: what becomes free goes to the first live ticket that it makes servable, in the same call. So no third can take it in between.
--
-- gives  note_free, note_taken, note_redefined, hand_over, end_tickets, start_hand_over
-- Whoever asks later is refused what a ticket waits for (`lines.kept_for`), so a hand-over may go on in pieces: what is left stands in `tickets`
-- under PENDING: per line its kind and name, where it goes on, and whether all of it is looked at. The next call or the sweep takes it up.
local PENDING = '\0pending'
local AT_ONCE = '64'
local PART = 1000 -- values that are packed at once
local UNCLAIMED = '\170UNRESERVED\169UNCLAIMED\194\194'
local WANTED = byte('w')
local names, count = {}, 0
local takers, taker_count = {}, 0
local redefined, redefined_count = {}, 0
local NEVER_SERVED = 'What is registered has changed, and it can no longer be had.'

function start_hand_over()
  count, taker_count, redefined_count = 0, 0, 0
end

-- A requester took something: other tickets of its own may want no more than that.
function note_taken(requester)
  taker_count = taker_count + 1
  takers[taker_count] = requester
end

-- A thing became free, or what it takes to have it has changed.
function note_free(name)
  count = count + 1
  names[count] = name
end

-- What is registered of a name has changed: who wants it is looked at, also behind those who cannot be served.
function note_redefined(name)
  redefined_count = redefined_count + 1
  redefined[redefined_count] = name
end

-- Takes for a ticket what it waits for. Answers whether it could, and what it holds then; or why not: LIMIT where it is the limit of what is held,
-- NOT_VALID where nobody can have it, TOO_MUCH_WORK where the call has no room left for it.
local function take_for(t)
  if not t.method then
    local item = t.items[1]
    local status, physical, packed = take(item[1], item[2], item[3], item[4], item[5] > 1 and item[5] or nil)
    if packed then
      return true, status == 'ACQUIRED' and { { physical, item[2] } } or {}
    end
    return false, definitions.is_beyond(item[1]) and 'NOT_VALID' or status
  end
  group_at = next_position()
  answer('\167APPLIED')
  local stands, changed = groups.take(t)
  if stands == nil then
    group_at = nil
    return false, changed
  end
  if stands and caller.held_limit > 0 and held_count > caller.held_limit then
    group_at = nil
    return false, 'LIMIT'
  end
  local held = stands and groups.held(t.items)
  if held and changed then
    groups.emit_taken(t)
  end
  group_at = nil
  return held and true or false, held or groups.has_invalid(#t.items) and 'NOT_VALID'
end

-- Serves a ticket if it can be. What is refused leaves nothing; the second answer says why, as that of `take_for`. `led`: a line of which the ticket
-- is the first.
local function serve(t, led)
  local to, answered_then, caller_then = mark(), answered, caller
  local to_events = events.mark()
  local takers_then = taker_count
  caller = setmetatable({ packed_label = t.label, end_user = t.end_user }, { __index = caller_then })
  events.speak_as(t.label)
  lines.stand_at(t.order)
  lines.led = led
  room.set(not t.method and caller.held_limit > 0 and caller.held_limit or math.huge)
  asking = { is_silent = not t.method, extra = not t.method and tickets.extra(t, now_ms - t.since_ms) or nil }
  local is_served, held = take_for(t)
  local text = is_served and concat(answers, '', answered_then + 1, answered)
  asking, answered = nil, answered_then
  room.set(math.huge)
  lines.stand_at(nil)
  lines.led = nil
  caller = caller_then
  events.speak_as(caller.packed_label)
  if not is_served then
    undo(to)
    events.undo(to_events)
    taker_count = takers_then
    return false, held
  end
  tickets.grant(t, text, held, false)
  return true
end

-- The next ticket of a line behind `from`, or nil.
local function next_of(prefix, from)
  spent = spent + 1
  return call('ZRANGE', LINES, from and '(' .. from or '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', '0', '1')[1]
end

-- Whether nobody behind a ticket that cannot be served can be served from the same line.
local function is_end(prefix)
  if byte(prefix) ~= WANTED then -- only who keeps what he wants stops others
    return false
  end
  local record, slot = resolve(sub(prefix, 2))
  return not record or slot or record.capacity == 1 or pools.free(record) <= 0
end

-- Whether what a line is for is taken now, all of it: whoever took it has other tickets in the line of his own.
local function is_taken(prefix)
  if byte(prefix) ~= WANTED then
    return false
  end
  local name = sub(prefix, 2)
  local record, slot = resolve(name)
  if record and not slot and record.capacity > 1 then
    return pools.free(record) <= 0
  end
  return look(name) and true
end

-- The lines of which a call serves tickets.
local list, seen, from, is_whole = {}, {}, {}, {} -- kind and name of each; which they are; behind which ticket each goes on; which are looked at to their end
local heads_of, limited = {}, {} -- the first of each, where it is known; lines whose first the limit of what is held refuses

local function add_line(prefix)
  if not seen[prefix] then
    seen[prefix], list[#list + 1] = true, prefix
  end
end

local function remove_line(at)
  local prefix = table.remove(list, at)
  seen[prefix], heads_of[prefix] = nil, nil
end

-- The values of a sequence that may be longer than unpack() takes.
local function read_all(text)
  local values, at = {}, 0
  repeat
    local part = { unpack_limit(text, PART, at) }
    at = part[1]
    for n = 2, #part do
      values[#values + 1] = part[n]
    end
  until at < 0
  return values
end

-- The same, written.
local function pack_all(values)
  local parts = {}
  for from = 1, #values, PART do
    parts[#parts + 1] = pack(unpack(values, from, min(from + PART - 1, #values)))
  end
  return concat(parts)
end

local function read_pending()
  local noted = call('HMGET', TICKETS, PENDING, tickets.LIMITED, tickets.RESET)
  spent = spent + 1
  tickets.note_reset(noted[3])
  if noted[1] then
    local parts = read_all(noted[1])
    for n = 1, #parts, 3 do
      add_line(parts[n])
      from[parts[n]], is_whole[parts[n]] = parts[n + 1] or nil, parts[n + 2] or nil
    end
  end
  if noted[2] and count > 0 then
    call('HDEL', TICKETS, tickets.LIMITED)
    local prefixes = read_all(noted[2])
    for n = 1, #prefixes do
      add_line(prefixes[n])
    end
  end
  return noted[1]
end

local function write_pending(was_there)
  if limited[1] then
    local before = call('HGET', TICKETS, tickets.LIMITED)
    call('HSET', TICKETS, tickets.LIMITED, (before or '') .. pack_all(limited))
  end
  local left = {}
  for n = 1, #list do
    left[3 * n - 2], left[3 * n - 1], left[3 * n] = list[n], from[list[n]] or false, is_whole[list[n]] or false
  end
  if left[1] then
    call('HSET', TICKETS, PENDING, pack_all(left))
    tickets.lower_due(now_ms)
  elseif was_there then
    call('HDEL', TICKETS, PENDING)
  end
  return left[1] ~= nil
end

-- Adds the lines that what was noted may serve. `is_first`: it was noted before any ticket was looked at, so the lines begin anew; later it is only
-- tickets behind that can be served by it.
local function add_noted(is_first)
  for n = 1, redefined_count do
    local its = lines.served_by(redefined[n])
    lines.add_like_slots(its, redefined[n])
    for at = 1, #its do
      add_line(its[at])
      from[its[at]], heads_of[its[at]], is_whole[its[at]] = nil, nil, true
    end
  end
  for n = 1, count do
    local its = lines.served_by(names[n])
    for at = 1, #its do
      add_line(its[at])
      if is_first then
        from[its[at]] = nil
      end
    end
  end
  for n = 1, taker_count do
    local prefix = 'r' .. takers[n]
    from[prefix], heads_of[prefix] = nil, nil
    add_line(prefix)
  end
  count, taker_count, redefined_count = 0, 0, 0
end

-- Of all lines the ticket that comes first, as its member and the number of its line; nil: there is none.
local function first_of_all()
  local best, best_at, best_key, kept = nil, nil, nil, 0
  for n = 1, #list do -- lines without one leave the list, which may be long, in one pass
    local prefix = list[n]
    local head = heads_of[prefix] or next_of(prefix, from[prefix])
    heads_of[prefix], list[n] = head, nil
    if head then
      local key = lines.key(head)
      kept = kept + 1
      list[kept] = prefix
      if not best or precedes(key, best_key) then
        best, best_at, best_key = head, kept, key
      end
    else
      seen[prefix] = nil
    end
  end
  return best, best_at
end

-- What is registered may have changed since a ticket came: then it stands in other lines.
local function stand_anew(t)
  local members, stays, is_same = lines.members(t), {}, true
  for n = 1, max(#members, #t.lines) do
    is_same = is_same and members[n] == t.lines[n]
  end
  if is_same then
    return
  end
  for n = 1, #members do
    stays[members[n]] = true
  end
  for n = 1, #t.lines do
    if not stays[t.lines[n]] then
      note_free(lines.name(t.lines[n]))
    end
  end
  lines.remove(t.lines)
  lines.add(members)
  t.lines, heads_of = members, {}
  call('HSET', TICKETS, t.id, tickets.packed(t))
end

-- Whether the tenant may hold nothing more.
local function is_full()
  return caller.held_limit > 0 and held_count >= caller.held_limit
end

-- Looks at the ticket `best`, which comes first of all and stands in line `at`.
local function look_after(best, at)
  local prefix = list[at]
  local t = tickets.read(lines.ticket(best))
  heads_of[prefix] = nil
  if not t or t.status ~= 'W' then
    call('ZREM', LINES, best)
    return
  elseif not tickets.is_alive(t) then
    tickets.finish(t, now_ms >= t.wait_ends_ms and 'T' or 'L', FALSE)
    heads_of = {}
    return
  elseif is_full() then
    limited[#limited + 1] = prefix
    remove_line(at)
    return
  end
  stand_anew(t)
  local is_served, why = serve(t, not from[prefix] and prefix)
  if is_served then
    heads_of = {}
    if not is_whole[prefix] and is_taken(prefix) then
      remove_line(at)
    end
  elseif why == 'NOT_VALID' then
    tickets.finish(t, 'C', FALSE, NEVER_SERVED)
    heads_of = {}
  else
    if why == 'LIMIT' then
      limited[#limited + 1] = prefix
    end
    if not is_whole[prefix] and is_end(prefix) then
      remove_line(at)
    else
      from[prefix] = best
    end
  end
end

-- Whether the call has made anybody servable. What an earlier one has left to do is not asked for here: it is due.
function tickets.has_freed()
  return count > 0 or taker_count > 0 or redefined_count > 0
end

-- Serves who can be served now, in order, as far as one call may go. Answers whether more is to be done.
function hand_over()
  list, seen, from, is_whole, heads_of, limited = {}, {}, {}, {}, {}, {}
  local was_there = read_pending()
  add_noted(true)
  while list[1] and not is_piece_done() do
    local best, at = first_of_all()
    if not best then
      break
    end
    look_after(best, at)
    add_noted(false)
  end
  return write_pending(was_there)
end

-- Ends tickets whose time is over: nobody asked for them, their wait ended, what they got was not seen. Ended ones are forgotten.
function end_tickets()
  local ids = call('ZRANGEBYSCORE', TICKET_ENDS, '-inf', digits(now_ms), 'LIMIT', '0', AT_ONCE)
  spent = spent + 1
  for n = 1, #ids do
    local t = tickets.read(ids[n])
    if not t then
      call('ZREM', TICKET_ENDS, ids[n])
    elseif t.status == 'W' then
      tickets.finish(t, now_ms >= t.wait_ends_ms and 'T' or 'L', FALSE)
    elseif t.status == 'G' then
      tickets.give_back(t, UNCLAIMED, FALSE)
      tickets.finish(t, 'L', FALSE)
    else
      tickets.forget(t)
    end
    if is_piece_done() then
      break
    end
  end
end
