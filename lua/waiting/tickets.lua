-- tickets: who waits, for what, until when; and what became of it.
--
-- gives  TICKETS, TICKET_ENDS, tickets
-- A ticket, packed: status, order, since ms, wait ends ms, keep alive ms, priority, method or false, overtake, wish, items (arrays of name, token,
-- tail, ttl ms, quantity), its lines (members), packed label, end user or false, when it was served or ended ms or false, answers or false,
-- what it holds (arrays of physical name, token).
-- Status: W waits, G granted and not yet seen by who asked, A granted and seen, T timed out, L lapsed, C cancelled.
-- In `tickets`: ticket (32 hexadecimal digits) -> packed; k, wish -> the ticket that stands for it. In `ticket_ends`: ticket -> while it waits: until when somebody has to
-- ask for it, or its wait ends; granted: until when it has to be seen; ended: when it is forgotten.
-- Under LIMITED: lines whose first would be served but for the limit of what is held; they are looked at whenever something is given back. Under
-- RESET: at which position everything was reset last, and when, ms: what had come before is cancelled.
tickets = { LIMITED = '\0limited', RESET = '\0reset' }
local FORGOTTEN_AFTER_MS = 600 * 1000
local RESET = tickets.RESET
local WORDS = { T = 'TIMED_OUT', L = 'LAPSED', C = 'CANCELLED' }
local BARE_TAIL = pack(false, false, false, false, 0) -- from the resource type on, of an event of several things
local joined, joined_count = {}, 0
local deferred, deferred_count = {}, 0
local settled, settled_count = {}, 0
local opened, is_opened = {}, false -- ticket -> table: each is one table during a call, so that all of the call sees what it plans
local reset_at, reset_ms -- what stands under RESET, as the call has read it; `reset_at` nil: not read yet, false: nothing

-- A ticket as a table, all of whose fields have room from the beginning: a table that grows field by field is made anew four times.
function tickets.new(id)
  return { id = id, status = false, order = false, since_ms = false, wait_ends_ms = false, keep_alive_ms = false, priority = false, method = false,
    overtake = false, wish = false, items = false, lines = false, label = false, end_user = false, done_ms = false, answers = false, held = false }
end

function tickets.start()
  joined_count, deferred_count, settled_count, reset_at = 0, 0, 0, nil
  if is_opened then
    opened, is_opened = {}, false
  end
  lines.start()
end

-- What is to be written of tickets once nothing refuses the call any more.
local function later(action)
  deferred_count = deferred_count + 1
  deferred[deferred_count] = action
end

-- A ticket stands for its wish no longer, for the rest of the call; `action` is as in `later`.
local function settle_later(t, action)
  t.is_settled = true
  settled_count = settled_count + 1
  settled[settled_count] = t
  if t.status == 'W' then
    lines.leave(t.lines)
    waiting_count = waiting_count - 1
  end
  later(action)
end

-- What a call that does not wait plans of tickets from here on can be taken back by `tickets.undo` with what this answers.
function tickets.mark()
  return deferred_count, settled_count
end

function tickets.undo(to_deferred, to_settled)
  for n = settled_count, to_settled + 1, -1 do
    local t = settled[n]
    t.is_settled = false
    if t.status == 'W' then
      lines.join(t.lines)
      waiting_count = waiting_count + 1
    end
  end
  deferred_count, settled_count = to_deferred, to_settled
end

-- What is wished, by which the same wish is the same ticket: how, by whom, what. An end user's is nobody else's: a ticket shows the token of what it got.
function tickets.wish(method, items)
  local parts = { caller.end_user and pack(method, caller.end_user) or pack(method) }
  for n = 1, #items do
    parts[n + 1] = pack(reservation.requester(items[n][3]), items[n][1])
  end
  return redis.sha1hex(concat(parts))
end

-- What stands under RESET was read; a call reads it once.
function tickets.note_reset(text)
  if reset_at == nil then
    reset_at = false
    if text then
      reset_at, reset_ms = unpack_sequence(text)
    end
  end
end

-- A field of `tickets`, with what stands under RESET where the call has not read that yet.
local function read_field(field)
  spent = spent + 1
  if reset_at ~= nil then
    return call('HGET', TICKETS, field)
  end
  local found = call('HMGET', TICKETS, field, RESET)
  tickets.note_reset(found[2])
  return found[1]
end

-- Whether a ticket came before everything was reset last.
local function was_reset(t)
  return reset_at and take_apart('>I8', t.order, 3) <= reset_at
end

function tickets.read(id)
  if opened[id] then
    return opened[id]
  end
  local text = TICKETS and read_field(id)
  if not text then
    return nil
  end
  spent = spent + #text / budget.step_bytes
  local t = tickets.new(id)
  t.status, t.order, t.since_ms, t.wait_ends_ms, t.keep_alive_ms, t.priority, t.method, t.overtake, t.wish, t.items, t.lines, t.label, t.end_user,
    t.done_ms, t.answers, t.held = unpack_sequence(text)
  if (t.status == 'W' or t.status == 'G') and was_reset(t) then
    t.status, t.done_ms = 'C', reset_ms
  end
  opened[id], is_opened = t, true
  return t
end

function tickets.packed(t)
  return pack(t.status, t.order, t.since_ms, t.wait_ends_ms, t.keep_alive_ms, t.priority, t.method, t.overtake, t.wish, t.items, t.lines, t.label,
    t.end_user, t.done_ms, t.answers, t.held)
end

-- `is_new`: it stands for its wish from now on.
function tickets.write(t, ends_ms, is_new)
  if is_new then
    call('HSET', TICKETS, t.id, tickets.packed(t), 'k' .. t.wish, t.id)
  else
    call('HSET', TICKETS, t.id, tickets.packed(t))
  end
  call('ZADD', TICKET_ENDS, digits(ends_ms), t.id)
  spent = spent + 3
  tickets.lower_due(ends_ms)
end

-- The sweep has to look not later than then.
function tickets.lower_due(ms)
  if not due or ms < due then
    due, is_unsaved = ms, true
    call('ZADD', DUE, digits(ms), caller.tenant)
  end
end

-- The live ticket of a wish, or nil.
function tickets.find(wish)
  for n = joined_count, 1, -1 do
    if joined[n].wish == wish and not joined[n].is_settled then
      return joined[n]
    end
  end
  local id = ticket_count > 0 and read_field('k' .. wish)
  local t = id and tickets.read(id)
  return t and not t.is_settled and (t.status == 'W' or t.status == 'G') and t or nil
end

-- Until when a ticket that waits is asked for, unless its wait ends before.
local function alive_until(t)
  return min(t.wait_ends_ms, now_ms + t.keep_alive_ms)
end

-- What a ticket kept from others becomes free for them.
local function note_kept(t)
  for n = 1, #t.items do
    local name = t.items[n][1]
    note_free(name)
    local record = resolve(name)
    for block = 1, record and #record.blocks or 0 do
      note_free(record.blocks[block])
    end
  end
end

-- Somebody asks for it.
function tickets.touch(t)
  call('ZADD', TICKET_ENDS, digits(alive_until(t)), t.id)
  spent = spent + 1
end

-- The requester of all items as packed text, or FALSE where they differ.
local function packed_requester(items)
  local first = reservation.requester(items[1][3])
  for n = 2, #items do
    if reservation.requester(items[n][3]) ~= first then
      return FALSE
    end
  end
  return text_head(first) .. first
end

-- What only events of tickets have.
local function extra(t, waited_ms, place, wait_ends_ms)
  return pack({ t.method or false, false, t.id, waited_ms or false, place or false, wait_ends_ms or false })
end
tickets.extra = extra

local function emit_of(t, said, by, more)
  next_position()
  events.speak_as(by)
  local is_single = not t.method
  emit(said, FALSE, no_term(), is_single and t.items[1][3] or packed_requester(t.items) .. BARE_TAIL, is_single and t.items[1][1], more)
  events.speak_as(caller.packed_label)
end

-- A new ticket takes its place. `cause`: status, kind, name, holder and end of what is in the way. Answers as `tickets.place`.
function tickets.join(t, cause)
  next_position()
  position = position - 1 -- the event takes it
  t.status, t.order, t.since_ms, t.label, t.end_user, t.done_ms, t.answers, t.held = 'W', lines.order_of(t.priority, position + 1), now_ms,
    caller.packed_label, caller.end_user, false, false, false
  t.lines = lines.members(t)
  lines.join(t.lines)
  room.with_lines()
  waiting_count, ticket_count = waiting_count + 1, ticket_count + 1
  joined_count = joined_count + 1
  joined[joined_count], opened[t.id], is_opened = t, t, true
  local status, kind, conflict, holder, until_ms = unpack(cause)
  local place, next_requester = tickets.place(t)
  emit_of(t, pack('WAITING', status, { kind, conflict, holder or '', until_ms or false }, 'RESERVE'), caller.packed_label,
    extra(t, false, place, t.wait_ends_ms))
  return place, next_requester
end

-- Writes what the call has planned of tickets.
function tickets.write_planned()
  lines.write()
  for n = 1, deferred_count do
    deferred[n]()
  end
  for n = 1, joined_count do
    local t = joined[n]
    if t.status == 'W' then
      tickets.write(t, alive_until(t), true)
    end
  end
  joined_count, deferred_count, settled_count = 0, 0, 0
end

-- A ticket stands in other lines from here on.
local function move(t, priority, order, members)
  lines.leave(t.lines)
  t.priority, t.order = priority, order
  t.lines = members or lines.members(t)
  lines.join(t.lines)
  note_kept(t) -- what it kept at its place before may be for others now
end

-- The same wish is asked for again: another priority gives another place, another quantity or time to live counts from now on.
function tickets.plan_again(t, list, wait)
  local priority, quantity_differs, items_before = wait[2], false, {}
  for n = 1, #list do
    local item, asked = t.items[n], list[n]
    quantity_differs = quantity_differs or item[5] ~= asked[5]
    local tail = caller.end_user == t.end_user and asked[3] or item[3] -- the note; of somebody else it would be his label, too
    items_before[n], t.items[n] = item, { item[1], item[2], tail, asked[4], asked[5] }
  end
  t.before = { t.priority, t.order, t.lines, items_before, t.keep_alive_ms }
  t.keep_alive_ms = wait[3]
  if priority ~= t.priority or quantity_differs then
    move(t, priority, lines.order_of(priority, take_apart('>I8', t.order, 3)))
  end
end

-- What is asked for now can be had by nobody: the ticket stays as it was.
function tickets.undo_again(t)
  local priority, order, members, items_before, keep_alive_ms = unpack(t.before)
  t.items, t.keep_alive_ms = items_before, keep_alive_ms
  if t.lines ~= members then
    move(t, priority, order, members)
  end
end

-- It goes on waiting; a later end counts.
function tickets.ask_again(t, wait_ends_ms)
  t.wait_ends_ms = max(t.wait_ends_ms, wait_ends_ms)
  later(function()
    if t.status == 'W' then
      tickets.write(t, alive_until(t))
    end
  end)
end

-- Its place among those who want the same: 1 is next; and the requester of who is next, false where it is this one.
function tickets.place(t)
  local most, line = 0, nil
  for n = 1, #t.items do
    local ahead = lines.ahead('w' .. t.items[n][1], t.order)
    if ahead > most then
      most, line = ahead, 'w' .. t.items[n][1]
    end
  end
  local first = line and lines.first(line, t.order)
  local before = first and tickets.read(lines.ticket(first))
  return most + 1, before and reservation.requester(before.items[1][3]) or false
end

-- It leaves the lines.
local function leave(t)
  is_unsaved = true
  if not t.is_settled then
    waiting_count = waiting_count - 1
    lines.remove(t.lines)
  end
end

-- It was served: `answers` and what it took. `is_seen`: who asked is answered at once. `leaves_some`: it took fewer slots than it kept.
function tickets.grant(t, answers, held, is_seen, leaves_some)
  if t.status == 'W' then
    leave(t)
    if leaves_some or t.method or not held[1] then
      note_kept(t) -- it may have taken less than it kept
    end
  end
  t.status, t.done_ms, t.answers, t.held = is_seen and 'A' or 'G', t.done_ms or now_ms, answers, held
  if is_seen then
    call('HDEL', TICKETS, 'k' .. t.wish)
  end
  tickets.write(t, now_ms + (is_seen and FORGOTTEN_AFTER_MS or t.keep_alive_ms))
end

-- It was served by the call that asks for it again, with these items: what it got is held with their tokens.
function tickets.plan_grant(t, items, answers, held)
  settle_later(t, function()
    local leaves_some = false
    for n = 1, #items do
      leaves_some = leaves_some or items[n][5] < t.items[n][5]
      t.items[n][2] = items[n][2]
    end
    tickets.grant(t, answers, held, true, leaves_some)
  end)
end

-- Who asked has seen what it got.
function tickets.claim(t)
  tickets.grant(t, t.answers, t.held, true)
end

function tickets.plan_claim(t)
  settle_later(t, function()
    tickets.claim(t)
  end)
end

-- A requester is shown what a ticket of this wish got.
function tickets.claim_shown(method, items)
  local t = tickets.find(tickets.wish(method, items))
  if t and t.status == 'G' then
    tickets.plan_claim(t)
  end
end

-- The ticket of somebody who waits for an item and gets it by asking anew without waiting: that serves the ticket, and the answer shows it.
function tickets.waits_for(requester, items)
  local t = lines.has_after(requester) and tickets.find(tickets.wish(false, items))
  return t and t.status == 'W' and t or nil
end

-- It ends without what it waited for. `by`: who ended it, packed; FALSE: nobody. `reason`: a sentence, or nil.
function tickets.finish(t, status, by, reason)
  if t.status == 'W' then
    leave(t)
    note_kept(t)
  end
  t.status, t.done_ms = status, now_ms
  call('HDEL', TICKETS, 'k' .. t.wish)
  tickets.write(t, now_ms + FORGOTTEN_AFTER_MS)
  emit_of(t, pack('WAIT_ENDED', WORDS[status], reason or false, false), by, extra(t, now_ms - t.since_ms))
end

-- What a ticket got is given back: nobody has seen it.
function tickets.give_back(t, said, by)
  events.speak_as(by)
  for n = 1, #t.held do
    local name, token = t.held[n][1], t.held[n][2]
    local packed = look(name)
    if packed and find(packed, TEXT_16 .. token, reservation.stamp(packed) + 1, true) == reservation.stamp(packed) + 1 then
      give_up(name, packed)
      next_position()
      emit(said, sub(packed, 1, 9), no_term(), sub(packed, reservation.stamp(packed) + 18), name)
    end
  end
  events.speak_as(caller.packed_label)
end

-- An ended ticket is forgotten once it was kept for long enough; with the last one goes what is said of tickets alone. A reset ends all without
-- looking at any.
function tickets.forget(t)
  local forgotten_ms = t.done_ms + FORGOTTEN_AFTER_MS
  if t.status == 'C' and call('HGET', TICKETS, 'k' .. t.wish) == t.id then
    call('HDEL', TICKETS, 'k' .. t.wish)
  end
  if now_ms < forgotten_ms then
    tickets.write(t, forgotten_ms)
    return
  end
  call('HDEL', TICKETS, t.id)
  call('ZREM', TICKET_ENDS, t.id)
  ticket_count, spent, is_unsaved = max(ticket_count - 1, 0), spent + 2, true
  if ticket_count == 0 then
    call('HDEL', TICKETS, RESET, tickets.LIMITED)
  end
end

-- Whether it still has to be asked for, and is.
function tickets.is_alive(t)
  local ends_ms = tonumber(call('ZSCORE', TICKET_ENDS, t.id))
  spent = spent + 1
  return ends_ms and ends_ms > now_ms
end

-- Everything that waits is cancelled at once: what is read of it says so from here on.
function tickets.reset()
  if ticket_count > 0 then
    call('UNLINK', LINES)
    call('HSET', TICKETS, RESET, pack(position, now_ms))
    reset_at, reset_ms = position, now_ms
    waiting_count, is_unsaved = 0, true
  end
end

-- When it would be served if everybody held to his deadline and whoever is ahead for the whole time to live, in ms; nil where one of them has none.
-- Where a call has much to do already it is not looked for.
local AHEAD_MOST = 32
local lasting = {} -- ticket -> for how long it will hold what it waits for, ms; of one estimate

local function lasts_ms(id)
  if not lasting[id] then
    local t = tickets.read(id)
    local ttl_ms = t and t.items[1][4]
    lasting[id] = not t and 0 or ttl_ms > 0 and ttl_ms or caller.default_ttl_ms
  end
  return lasting[id]
end

local function expected_of(t, item, ahead)
  local name, quantity = item[1], item[5]
  local record, slot = resolve(name)
  ahead = ahead or lines.ahead('w' .. name, t.order)
  if record and not slot and record.capacity > 1 then
    local members = quantity == 1 and call('ZRANGE', INDEX, '[p' .. name .. '\0', '(p' .. name .. '\1', 'BYLEX', 'LIMIT', digits(ahead), '1') or {}
    spent = spent + 1
    return members[1] and take_apart('>I8', members[1], #name + 3)
  end
  local packed = look(name)
  local at_ms = packed and reservation.free_at(name, packed)
  if not at_ms or ahead > AHEAD_MOST then
    return nil
  end
  local members = ahead > 0 and call('ZRANGE', LINES, '[w' .. name .. '\0', '(w' .. name .. '\0' .. t.order, 'BYLEX') or {}
  for n = 1, #members do
    local lasts = lasts_ms(lines.ticket(members[n]))
    if lasts == 0 or is_piece_done() then
      return nil
    end
    at_ms = at_ms + lasts
  end
  return at_ms
end

-- `place` is its place.
function tickets.expected(t, place)
  local latest
  lasting = {}
  if t.method and t.method ~= 'ALL_OR_NONE' then
    return nil
  end
  for n = 1, #t.items do
    if is_piece_done() then
      return nil
    end
    local at_ms = expected_of(t, t.items[n], #t.items == 1 and place - 1)
    if not at_ms and (not t.method or look(t.items[n][1])) then
      return nil
    end
    latest = max(latest or 0, at_ms or 0)
  end
  return latest and latest > 0 and latest or nil
end

-- A ticket as it is answered.
function tickets.row(t)
  local place = t.status == 'W' and tickets.place(t)
  return pack(t.status, t.since_ms, t.wait_ends_ms, t.priority, t.method or false, t.done_ms or false, place or false,
    place and tickets.expected(t, place) or false, t.items, t.answers or false)
end
