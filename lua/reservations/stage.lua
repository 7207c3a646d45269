-- stage: what a call sees of its keys, and what it would change. Nothing is written before `write_stage`.
--
-- gives  HELD, DEADLINES, DUE, INDEX, SLOTS, LINKS, view, look, look_at, set_held, drop_held, set_deadline, drop_deadline, add_index, remove_index
-- gives  stage, bit_now, mark, undo, note, marked, is_too_much, is_piece_done, reset_stage, write_stage
-- Changes stand ready as the arguments of the commands that will write them, for each key what comes and what goes. What goes is written first,
-- so that a thing may be given back and taken again in one call; of what was added before it went, the addition is left out. What was staged
-- since a mark can be taken back: the lists are cut, and each change of a table is noted with what it replaced.
--   view      field of `held` -> text, or false: not there; as the call sees it
--   bit_now   bit of `slots` -> whether it is held from now on
--   marked    false, or a number that each `mark` and each `undo` changes: who has noted something under it need not note it again
-- The tables are kept between calls, for one that has grown need not grow again. A call begins by taking out what the one before put in.
local KEPT_MOST = 512 -- entries of a table that is kept: after a larger call all begin anew, or the collector would go through them for ever
local RUN_MOST = 32 -- bits that are written by one part of a command
local PIECE = 2000 -- elements of one command; unpack() takes no more than 8000
local looked, looked_count, fresh = {}, 0, {} -- fields that `view` has, beside those of a list that was looked at first
local first = { from = 1, to = 0 } -- that list: `list`, and which of its elements
local held_sets, held_set_count, held_gone, held_gone_count = {}, 0, {}, 0
local dated, dated_count, undated, undated_count, dated_before = {}, 0, {}, 0, {}
local index_sets, index_set_count, index_gone, index_gone_count, index_before_gone = {}, 0, {}, 0, {}
local bits, bit_count = {}, 0
local notes, note_count = {}, 0 -- table, key, value before, in turn
local staged_bytes, marks = 0, 0
view, bit_now, stage = {}, {}, {}

local function reset_tables()
  view, bit_now, looked, fresh, bits, notes = {}, {}, {}, {}, {}, {}
  held_sets, held_gone, dated, undated, dated_before = {}, {}, {}, {}, {}
  index_sets, index_gone, index_before_gone = {}, {}, {}
end

function reset_stage()
  if looked_count + first.to > KEPT_MOST or index_set_count > KEPT_MOST then
    reset_tables()
  else
    for n = first.from, first.to do
      view[first.list[n]] = nil
    end
    for n = 1, looked_count do
      view[looked[n]] = nil
    end
    for n = 1, bit_count do
      bit_now[bits[n]] = nil
    end
  end
  looked_count, held_set_count, held_gone_count, dated_count, undated_count = 0, 0, 0, 0, 0
  first.list, first.from, first.to = nil, 1, 0
  index_set_count, index_gone_count, bit_count, note_count, staged_bytes, marked = 0, 0, 0, 0, 0, false
end

-- A change of a table is about to be made that `undo` must be able to take back; asked for once something is marked.
function note(changed, key)
  local n = note_count
  notes[n + 1], notes[n + 2], notes[n + 3] = changed, key, changed[key]
  note_count = n + 3
end

-- The text of a field of `held` as the call sees it, or false. `found` is what was read already.
function look(field, found)
  local present = view[field]
  if present == nil then
    present = found
    if present == nil then
      present = call('HGET', HELD, field)
      spent = spent + 1
    end
    view[field] = present
    looked_count = looked_count + 1
    looked[looked_count] = field
  end
  return present
end

local function read_many(fields, first, final)
  for from = first, final, PIECE do
    local to = min(from + PIECE - 1, final)
    local found = call('HMGET', HELD, unpack(fields, from, to))
    for n = from, to do
      view[fields[n]] = found[n - from + 1]
    end
  end
  spent = spent + (final - first + 1) / 2
end

-- The same of fields `from` to `final` of a list at once, each once. `lasts`: the list stays as it is during the call.
function look_at(fields, from, final, lasts)
  if lasts and looked_count == 0 and not first.list then
    first.list, first.from, first.to = fields, from, final
    read_many(fields, from, final)
    return
  end
  local unknown = 0
  for n = from, final do
    local field = fields[n]
    if view[field] == nil then
      unknown, looked_count = unknown + 1, looked_count + 1
      fresh[unknown], looked[looked_count], view[field] = field, field, false
    end
  end
  read_many(fresh, 1, unknown)
end

-- From here on the call sees a field of `held` as `text`, or false: what stages that comes next.
function stage.see(field, text)
  if view[field] == nil then
    looked_count = looked_count + 1
    looked[looked_count] = field
  end
  if marked then
    note(view, field)
  end
  view[field] = text
end

-- A field of `held` becomes `text`.
function set_held(field, text)
  stage.see(field, text)
  local n = held_set_count
  held_sets[n + 1], held_sets[n + 2] = field, text
  held_set_count, staged_bytes = n + 2, staged_bytes + #text + #field
end

-- A field of `held` goes.
function drop_held(field)
  stage.see(field, false)
  held_gone_count = held_gone_count + 1
  held_gone[held_gone_count] = field
end

-- What is held by a name ends at `deadline`, ms as text.
function set_deadline(name, deadline)
  local n = dated_count
  dated[n + 1], dated[n + 2] = deadline, name
  dated_count = n + 2
end

-- What was held by a name, or is, has no end any more.
function drop_deadline(name)
  local n = undated_count + 1
  undated[n], dated_before[n] = name, dated_count
  undated_count = n
end

-- Fields of `held` become texts: item n's field is at n + 1 of `names`, its text at n of `texts`. They end at `deadline`, or false. As set_held and
-- set_deadline for each, but `view` has them already.
function stage.hold_run(names, texts, first, final, deadline)
  local sets, set_count, bytes = held_sets, held_set_count, 0
  for n = first, final do
    local name, text = names[n + 1], texts[n]
    sets[set_count + 1], sets[set_count + 2] = name, text
    set_count, bytes = set_count + 2, bytes + #name + #text
  end
  held_set_count, staged_bytes = set_count, staged_bytes + bytes
  if deadline then
    local ends, count = dated, dated_count
    for n = first + 1, final + 1 do
      ends[count + 1], ends[count + 2] = deadline, names[n]
      count = count + 2
    end
    dated_count = count
  end
end

-- Fields of `held` go, and their deadlines where they have one. As drop_held and drop_deadline for each, but `view` knows it already.
function stage.drop_run(names, first, final, is_dated)
  local gone, count = held_gone, held_gone_count
  for n = first + 1, final + 1 do
    count = count + 1
    gone[count] = names[n]
  end
  held_gone_count = count
  if is_dated then
    local before, sets
    gone, before, count, sets = undated, dated_before, undated_count, dated_count
    for n = first + 1, final + 1 do
      count = count + 1
      gone[count], before[count] = names[n], sets
    end
    undated_count = count
  end
end

function add_index(member)
  local n = index_set_count
  index_sets[n + 1], index_sets[n + 2] = '0', member
  index_set_count, staged_bytes = n + 2, staged_bytes + #member
end

function remove_index(member)
  local n = index_gone_count + 1
  index_gone[n], index_before_gone[n] = member, index_set_count
  index_gone_count = n
end

-- As add_index and remove_index for each member of a list.
function stage.add_members(members, count)
  local sets, set_count, bytes = index_sets, index_set_count, 0
  for n = 1, count do
    local member = members[n]
    sets[set_count + 1], sets[set_count + 2] = '0', member
    set_count, bytes = set_count + 2, bytes + #member
  end
  index_set_count, staged_bytes = set_count, staged_bytes + bytes
end

function stage.remove_members(members, count)
  local gone, before, gone_count, sets = index_gone, index_before_gone, index_gone_count, index_set_count
  for n = 1, count do
    gone[gone_count + n], before[gone_count + n] = members[n], sets
  end
  index_gone_count = gone_count + count
end

-- How long the lists are of what comes into the index and what goes: while they and `marked` are the same, so is the index.
function stage.index_changes()
  return index_set_count, index_gone_count
end

-- Whether a member of the index is gone by what the call has staged.
local function is_removed(member)
  for n = index_gone_count, 1, -1 do
    if index_gone[n] == member then
      for at = index_before_gone[n] + 2, index_set_count, 2 do
        if index_sets[at] == member then
          return false -- it came back
        end
      end
      return true
    end
  end
  return false
end

-- The first member of the index under `prefix` that `passes`, as the call sees the index; `is_reverse`: the last. `from` and `to`: the bounds
-- between which Redis is to look, those of the prefix where there are none.
function stage.find_member(prefix, passes, is_reverse, from, to)
  if spent > budget.steps then
    return nil -- the call is refused
  end
  from, to = from or '[' .. prefix .. '\0', to or '(' .. prefix .. '\1'
  local best, start, length = nil, prefix .. '\0', #prefix + 1
  for n = 2, index_set_count, 2 do
    local member = index_sets[n]
    if sub(member, 1, length) == start and not is_removed(member) and (not passes or passes(member)) then
      if not best or precedes(member, best) ~= is_reverse then
        best = member
      end
    end
  end
  spent = spent + (index_set_count + index_gone_count) / budget.turns
  local offset, size = 0, 1 -- mostly the first is the one
  repeat
    local page
    if is_reverse then
      page = call('ZRANGE', INDEX, to, from, 'BYLEX', 'REV', 'LIMIT', digits(offset), digits(size))
    else
      page = call('ZRANGE', INDEX, from, to, 'BYLEX', 'LIMIT', digits(offset), digits(size))
    end
    spent = spent + 1 + #page / 8
    for n = 1, #page do
      local member = page[n]
      if not is_removed(member) and (not passes or passes(member)) then
        if best and precedes(best, member) ~= is_reverse then
          return best
        end
        return member
      end
    end
    offset, size = offset + #page, 16
  until #page == 0 or is_too_much()
  return best
end

-- A slot's bit: whether it is held.
function stage.set_bit(bit, is_held)
  if marked then
    note(bit_now, bit)
  end
  bit_now[bit] = is_held
  bit_count = bit_count + 1
  bits[bit_count] = bit
end

-- The first held slot's bit from one bit to another, as the call sees the bitmap; or nil.
function stage.next_held_bit(from, final)
  local best
  for n = 1, bit_count do
    local bit = bits[n]
    if bit_now[bit] and bit >= from and bit <= final and (not best or bit < best) then
      best = bit
    end
  end
  spent = spent + bit_count / budget.turns
  local at = from
  while at <= final do
    spent = spent + 1
    local bit = call('BITPOS', SLOTS, '1', text_of(at), text_of(final), 'BIT')
    if bit < 0 then
      break
    elseif bit_now[bit] ~= false then
      return best and best < bit and best or bit
    end
    at = bit + 1
  end
  return best
end

function mark()
  marks = marks + 1
  marked = marks
  return { note_count, held_set_count, held_gone_count, dated_count, undated_count, index_set_count, index_gone_count, bit_count, staged_bytes,
    position, held_count }
end

-- Takes back what was staged since the mark. What was looked at stays known.
function undo(to)
  marks = marks + 1
  marked = marks
  for n = note_count, to[1] + 3, -3 do
    notes[n - 2][notes[n - 1]] = notes[n]
  end
  spent = spent + (note_count - to[1]) / (3 * budget.turns)
  note_count, held_set_count, held_gone_count, dated_count, undated_count, index_set_count, index_gone_count, bit_count, staged_bytes,
    position, held_count = unpack(to)
end

-- The steps of the call so far.
function budget.total()
  return spent + (held_set_count + dated_count + index_set_count + bit_count) / 4 + (held_gone_count + undated_count + index_gone_count) / 2
    + answered / 3 + staged_bytes / budget.step_bytes
end

-- Whether the call takes more than a call may.
function is_too_much()
  return budget.total() > budget.steps
end

-- Whether it is as much as a piece may be of what goes on in pieces.
function is_piece_done()
  return budget.total() > budget.piece_steps
end

-- One command with as many elements as it takes.
function stage.run_in_pieces(command, key, arguments, count)
  if count <= PIECE then
    call(command, key, unpack(arguments, 1, count))
  else
    for from = 1, count, PIECE do
      call(command, key, unpack(arguments, from, min(from + PIECE - 1, count)))
    end
  end
end

-- Leaves out of a list of pairs those that went after they had come, and of what goes what came again: that is replaced. The name is the second
-- of a pair. Answers how long both lists are then.
local function without_gone(sets, set_count, gone, gone_count, sets_before)
  local gone_after, is_set = {}, {} -- name -> how many arguments there were when it went last; whether it is there in the end
  for n = 1, gone_count do
    gone_after[gone[n]] = sets_before[n]
  end
  local kept_count, left = 0, 0
  for n = 1, set_count, 2 do
    local name = sets[n + 1]
    local after = gone_after[name]
    if not after or n > after then
      sets[kept_count + 1], sets[kept_count + 2] = sets[n], sets[n + 1]
      kept_count, is_set[name] = kept_count + 2, true
    end
  end
  for n = 1, gone_count do
    if not is_set[gone[n]] then
      left = left + 1
      gone[left] = gone[n]
    end
  end
  return kept_count, left
end

-- The same of `held`, where `view` says how each field ends.
local function settle_held()
  local kept_count, left = 0, 0
  for n = 1, held_set_count, 2 do
    local field, text = held_sets[n], held_sets[n + 1]
    if view[field] == text then
      held_sets[kept_count + 1], held_sets[kept_count + 2] = field, text
      kept_count = kept_count + 2
    end
  end
  for n = 1, held_gone_count do
    local field = held_gone[n]
    if not view[field] then
      left = left + 1
      held_gone[left] = field
    end
  end
  held_set_count, held_gone_count = kept_count, left
end

-- The earliest deadline is a lower bound: it stays behind when what had it goes, but where nothing is held none may stay.
local function note_due()
  local earliest, before = due, nil
  for n = 1, dated_count, 2 do
    local deadline = dated[n]
    if deadline ~= before then
      before = deadline
      if not earliest or deadline + 0 < earliest then
        earliest = deadline + 0
      end
    end
  end
  if earliest ~= due then
    due = earliest
    call('ZADD', DUE, digits(due), caller.tenant)
  elseif due and held_count == 0 and ticket_count == 0 then
    due = false
    call('ZREM', DUE, caller.tenant)
  end
end

-- Bits that follow each other and become alike are written at once.
local function write_bits()
  if bit_count == 1 then
    call('SETBIT', SLOTS, text_of(bits[1]), bit_now[bits[1]] and '1' or '0')
    return
  end
  local arguments, count, n = {}, 0, 1
  while n <= bit_count do
    local first, width = bits[n], 1
    local is_held = bit_now[first]
    while width < RUN_MOST and n + width <= bit_count and bits[n + width] == first + width and bit_now[first + width] == is_held do
      width = width + 1
    end
    arguments[count + 1], arguments[count + 2], arguments[count + 3] = 'SET', 'u' .. text_of(width), digits(first)
    arguments[count + 4] = is_held and digits(2 ^ width - 1) or '0'
    count, n = count + 4, n + width
  end
  stage.run_in_pieces('BITFIELD', SLOTS, arguments, count)
end

-- Writes what was staged, each key once.
function write_stage()
  if held_gone_count > 0 and held_set_count > 0 then
    settle_held()
  end
  if held_gone_count > 0 then
    stage.run_in_pieces('HDEL', HELD, held_gone, held_gone_count)
  end
  if held_set_count > 0 then
    stage.run_in_pieces('HSET', HELD, held_sets, held_set_count)
  end
  if undated_count > 0 and dated_count > 0 then
    dated_count, undated_count = without_gone(dated, dated_count, undated, undated_count, dated_before)
  end
  if undated_count > 0 then
    stage.run_in_pieces('ZREM', DEADLINES, undated, undated_count)
  end
  if dated_count > 0 then
    stage.run_in_pieces('ZADD', DEADLINES, dated, dated_count)
  end
  if dated_count > 0 or due then
    note_due()
  end
  if index_gone_count > 0 and index_set_count > 0 then
    index_set_count, index_gone_count = without_gone(index_sets, index_set_count, index_gone, index_gone_count, index_before_gone)
  end
  if index_gone_count > 0 then
    stage.run_in_pieces('ZREM', INDEX, index_gone, index_gone_count)
  end
  if index_set_count > 0 then
    stage.run_in_pieces('ZADD', INDEX, index_sets, index_set_count)
  end
  if bit_count > 0 then
    write_bits()
  end
end
