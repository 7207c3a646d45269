-- hand_over: what becomes free goes to the first live ticket that it makes servable, in the same call. So no third can take it in between.
--
-- gives  note_free, note_taken, hand_over, end_tickets, start_hand_over
-- Whoever asks later is refused what a ticket waits for (`lines.kept_for`), so a hand-over may go on in pieces: what is left stands in `tickets`
-- under PENDING, pairs of a line and where it goes on, and the next call or the sweep takes it up.
local PENDING = '\0pending'
local LIMITED = '\0limited' -- lines whose first would be served but for the limit of what is held: looked at whenever something is given back
local AT_ONCE = '64'
local UNCLAIMED = '\170UNRESERVED\169UNCLAIMED\194\194'
local WANTED = byte('w')
local names, count = {}, 0
local takers, taker_count = {}, 0

function start_hand_over()
  count, taker_count = 0, 0
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

-- Takes for a ticket what it waits for. Answers whether it could, and what it holds then; or why not, where it is the limit of what is held: LIMIT.
local function take_for(t)
  if not t.method then
    local item = t.items[1]
    local status, physical, packed = take(item[1], item[2], item[3], item[4], item[5] > 1 and item[5] or nil)
    if packed then
      return true, status == 'ACQUIRED' and { { physical, item[2] } } or {}
    end
    return false, status
  end
  group_at = next_position()
  answer('\167APPLIED')
  local stands, changed = groups.take(t)
  if stands and caller.held_limit > 0 and held_count > caller.held_limit then
    group_at = nil
    return false, 'LIMIT'
  end
  local held = stands and groups.held(t.items)
  if held and changed then
    groups.emit_taken(t)
  end
  group_at = nil
  return held and true or false, held
end

-- Serves a ticket if it can be. What is refused leaves nothing; the second answer is LIMIT where it is the limit of what is held that refuses.
local function serve(t)
  local to, answered_then, caller_then = mark(), answered, caller
  local to_groups, to_kept = events.mark()
  local takers_then = taker_count
  local acting = {}
  for field, value in pairs(caller_then) do
    acting[field] = value
  end
  acting.packed_label, acting.end_user = t.label, t.end_user
  caller = acting
  events.speak_as(t.label)
  lines.stand_at(t.order)
  set_room(not t.method and caller.held_limit > 0 and caller.held_limit or math.huge)
  asking = { is_silent = not t.method, extra = not t.method and tickets.extra(t, now_ms - t.since_ms) or nil }
  local is_served, held = take_for(t)
  local text = is_served and concat(answers, '', answered_then + 1, answered)
  asking, answered = nil, answered_then
  set_room(math.huge)
  lines.stand_at(nil)
  caller = caller_then
  events.speak_as(caller.packed_label)
  if not is_served then
    undo(to)
    events.undo(to_groups, to_kept)
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

local function read_pending(list, seen, from)
  local noted = call('HMGET', TICKETS, PENDING, LIMITED)
  spent = spent + 1
  if noted[1] then
    local pairs_of = { unpack_sequence(noted[1]) }
    for n = 1, #pairs_of, 2 do
      list[#list + 1], seen[pairs_of[n]], from[pairs_of[n]] = pairs_of[n], true, pairs_of[n + 1] or nil
    end
  end
  if noted[2] and count > 0 then
    call('HDEL', TICKETS, LIMITED)
    local prefixes = { unpack_sequence(noted[2]) }
    for n = 1, #prefixes do
      if not seen[prefixes[n]] then
        list[#list + 1], seen[prefixes[n]] = prefixes[n], true
      end
    end
  end
  return noted[1]
end

local function write_pending(was_there, list, from, limited)
  if limited[1] then
    local before = call('HGET', TICKETS, LIMITED)
    call('HSET', TICKETS, LIMITED, (before or '') .. pack(unpack(limited)))
  end
  local left = {}
  for n = 1, #list do
    left[#left + 1], left[#left + 2] = list[n], from[list[n]] or false
  end
  if left[1] then
    call('HSET', TICKETS, PENDING, pack(unpack(left)))
    tickets.lower_due(now_ms)
  elseif was_there then
    call('HDEL', TICKETS, PENDING)
  end
  return left[1] ~= nil
end

-- Whether the tenant may hold nothing more.
local function is_full()
  return caller.held_limit > 0 and held_count >= caller.held_limit
end

-- Serves who can be served now, in order, as far as one call may go. Answers whether more is to be done.
function hand_over()
  local list, seen, from, heads_of, limited = {}, {}, {}, {}, {}
  local was_there = read_pending(list, seen, from)
  local function add_noted()
    for n = 1, count do
      lines.add_served_by(names[n], list, seen)
    end
    for n = 1, taker_count do
      local prefix = 'r' .. takers[n]
      from[prefix], heads_of[prefix] = nil, nil
      if not seen[prefix] then
        seen[prefix], list[#list + 1] = true, prefix
      end
    end
    count, taker_count = 0, 0
  end
  add_noted()
  while list[1] and not is_piece_done() do
    -- Of all lines the ticket that comes first.
    local best, best_at, best_key, n = nil, nil, nil, 1
    while n <= #list do
      local prefix = list[n]
      local head = heads_of[prefix] or next_of(prefix, from[prefix])
      heads_of[prefix] = head
      if head then
        local key = lines.key(head)
        if not best or precedes(key, best_key) then
          best, best_at, best_key = head, n, key
        end
        n = n + 1
      else
        seen[prefix] = nil
        table.remove(list, n)
      end
    end
    if not best then
      break
    end
    local prefix = list[best_at]
    local _, id = lines.parts(best)
    local t = tickets.read(id)
    heads_of[prefix] = nil
    if not t or t.status ~= 'W' then
      call('ZREM', LINES, best)
    elseif not tickets.is_alive(t) then
      tickets.finish(t, now_ms >= t.wait_ends_ms and 'T' or 'L', FALSE)
      heads_of = {}
    elseif is_full() then
      limited[#limited + 1], seen[prefix] = prefix, nil
      table.remove(list, best_at)
    else
      local is_served, why = serve(t)
      if is_served then
        heads_of = {}
      else
        if why == 'LIMIT' then
          limited[#limited + 1] = prefix
        end
        local members = lines.members(t) -- what is registered may have changed since it came
        if concat(members) ~= concat(t.lines) then
          lines.remove(t.lines)
          lines.add(members)
          t.lines = members
          call('HSET', TICKETS, t.id, tickets.packed(t))
        end
        if is_end(prefix) then
          seen[prefix] = nil
          table.remove(list, best_at)
        else
          from[prefix] = best
        end
      end
    end
    add_noted()
  end
  return write_pending(was_there, list, from, limited)
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
