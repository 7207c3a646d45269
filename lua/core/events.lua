-- events: what a call publishes, put together in groups: each is one message, and one entry of the history where what it says is kept.
--
-- gives  events, emit
-- An event, packed: R tenant | previous fence deadline now position | type explanation reason request by | requester kind label end_user note
-- place | extra resource. From its requester to its place it has what the reservation has, byte for byte. `position` is `true` where it is the
-- fence; `extra` is false, or an array: method, changes, ticket, waited_ms, ...
-- What an event of a group has in common with the one before is left out: S fence resource: everything else is equal; T fence requester ...
-- place resource: these differ, too. Both stand at the position that follows.
local GROUP_EVENTS = 32
local CONCAT_BYTES = 8192 -- up to so many table.concat joins at once
local LONG = 150 -- bytes of a text that costs more to be made part of another one than to be a part by itself
local S_FENCE_IS_POSITION = '\161S\195'
local REFUSED, ROLLED_BACK = '\194\194\194', '\194\183TRANSACTION_ROLLED_BACK\171ROLLED_BACK\194' -- packed: neither positions nor deadline
-- Of the group that is put together: its first event, at 0, and what comes behind it; how many events it has.
local parts, parts_count, size = {}, 0, 0
local is_kept -- whether the group's events are kept; refusals are published only
local said_before, term_before, tail_before
local kept_count = 0 -- kept events of groups that are whole
local is_marked = false -- whether a group that was begun may be gone back to
local short_heads = {} -- length of a name -> what goes before it in an event that says only its name
local groups, group_sizes, group_count = {}, {}, 0 -- groups that are whole; how many events of each are kept
events = {}

local function join_sixteen(parts, n)
  return parts[n] .. parts[n + 1] .. parts[n + 2] .. parts[n + 3] .. parts[n + 4] .. parts[n + 5] .. parts[n + 6] .. parts[n + 7]
    .. parts[n + 8] .. parts[n + 9] .. parts[n + 10] .. parts[n + 11] .. parts[n + 12] .. parts[n + 13] .. parts[n + 14] .. parts[n + 15]
end

-- The parts `from` to `final` of a list, behind which nothing is kept, as one text. Of what is longer than 8 KiB table.concat makes texts
-- of 8, 16, 32 ... KiB on the way, and each is hashed; `..` makes one of sixteen.
function events.join(parts, from, final)
  while #parts[final] * (final - from) > CONCAT_BYTES do
    local joined, count = {}, 0
    for n = final + 1, final + 15 do
      parts[n] = ''
    end
    for n = from, final, 16 do
      count = count + 1
      joined[count] = join_sixteen(parts, n)
    end
    parts, from, final = joined, 1, count
  end
  return from == final and parts[from] or concat(parts, '', from, final)
end

function events.reset()
  parts_count, size, group_count, kept_count, said_before, is_marked, events.by = 0, 0, 0, 0, nil, false, caller.packed_label
end

-- Forgets what was to be published: the call is refused.
function events.drop()
  parts_count, size, group_count, kept_count, said_before = 0, 0, 0, 0, nil
end

local function text_of_group()
  return parts_count == 0 and parts[0] or events.join(parts, 0, parts_count)
end

local function close_group()
  if size > 0 then
    group_count = group_count + 1
    groups[group_count], group_sizes[group_count] = text_of_group(), is_kept and size or 0
    kept_count = kept_count + group_sizes[group_count]
    parts_count, size, said_before = 0, 0, nil
    if is_marked then
      parts = {}
    end
  end
end
events.close_group = close_group

-- From here on events are of the caller that was met last.
function events.speak_as(packed_label)
  events.by, said_before = packed_label, nil
end

-- What comes next can be taken back by `events.undo` with what this answers. It may share the group that is open.
function events.mark()
  is_marked = true
  return { parts, parts_count, size, is_kept, said_before, term_before, tail_before, group_count, kept_count }
end

function events.undo(to)
  parts, parts_count, size, is_kept, said_before, term_before, tail_before, group_count, kept_count = unpack(to, 1, 9)
end

-- The position before the event that comes next, packed.
local function packed_previous()
  local is_first = kept_count == 0 and not (is_kept and size > 0)
  return put('>BI8', UINT64, is_first and last or position - 1)
end

local function add_whole(event, kept)
  if size > 0 and (size == GROUP_EVENTS or is_kept ~= kept) then
    close_group()
  end
  if size == 0 then
    parts[0], is_kept = event, kept
  else
    parts_count = parts_count + 1
    parts[parts_count] = event
  end
  size = size + 1
end

local function short_head(name)
  local head = S_FENCE_IS_POSITION .. text_head(name)
  short_heads[#name] = head
  return head
end

-- A kept event at `position`, which was just handed out. `said`: type to request, packed; `fence`, packed, or false where it is the position;
-- `term`: deadline and now, packed; `tail`: requester to place; `extra`, packed, or nil.
function emit(said, fence, term, tail, name, extra)
  if said ~= said_before or term ~= term_before or extra or size == GROUP_EVENTS then
    local at = position_packed
    add_whole(caller.head .. packed_previous() .. (fence or at) .. term .. (fence and at or TRUE) .. said
      .. events.by .. tail .. (extra or FALSE) .. (name and text_head(name) .. name or FALSE), true)
    said_before, term_before, tail_before = not extra and said, term, tail
  else
    local n = parts_count
    if tail ~= tail_before then
      tail_before = tail
      if #tail < LONG then
        parts[n + 1] = '\161T' .. (fence or TRUE) .. tail .. text_heads[#name] .. name
        parts_count = n + 1
      else
        parts[n + 1], parts[n + 2], parts[n + 3], parts[n + 4] = '\161T' .. (fence or TRUE), tail, text_heads[#name], name
        parts_count = n + 4
      end
    elseif fence then
      parts[n + 1] = '\161S' .. fence .. text_heads[#name] .. name
      parts_count = n + 1
    else
      parts[n + 1], parts[n + 2] = short_heads[#name] or short_head(name), name
      parts_count = n + 2
    end
    size = size + 1
  end
end

-- The same of items `first` to `final`, whose positions end at the one that was handed out last: item n's name is at n + 1 of `names`, its tail and,
-- where that is not its position, its fence at n of `tails` and `fences`.
function events.emit_run(said, fences, term, tails, names, first, final)
  local before_first, byte_of, n = position - final, positions.byte_of, first
  while n <= final do
    position = before_first + n
    position_packed = positions.head_of(position) .. byte_of[position % 256]
    emit(said, fences and fences[n], term, tails[n], names[n + 1])
    local into, count, tail, left = parts, parts_count, tail_before, min(final, n + GROUP_EVENTS - size) + 1
    for at = n + 1, left - 1 do
      local name, its_tail, fence = names[at + 1], tails[at], fences and fences[at]
      if its_tail == tail then
        if fence then
          count = count + 1
          into[count] = '\161S' .. fence .. text_heads[#name] .. name
        else
          into[count + 1], into[count + 2] = short_heads[#name] or short_head(name), name
          count = count + 2
        end
      elseif #its_tail < LONG then
        count, tail = count + 1, its_tail
        into[count] = '\161T' .. (fence or TRUE) .. tail .. text_heads[#name] .. name
      else
        left = at -- it is said in several parts
        break
      end
    end
    parts_count, size, tail_before, n = count, size + left - 1 - n, tail, left
  end
  position = before_first + final
end

-- A kept event of another form, at the position that was just handed out: its head up to the tenant, and what comes behind its position, packed.
function events.keep(head, tail)
  add_whole(head .. packed_previous() .. position_packed .. tail, true)
  said_before = nil
end

-- The refusal of a transaction; the rest packed.
function events.refuse_group(request, tail, extra)
  local now = put('>BI8', UINT64, now_ms)
  add_whole(caller.head .. REFUSED .. now .. ROLLED_BACK .. request .. caller.packed_label .. tail .. extra .. FALSE, false)
  said_before = nil
end

-- What a refusal says beside who asked and for what; of many in a call it is the same. `cause`: what is in the way, or false.
function events.refusal(kind, status, cause, request)
  return pack(false, false, false, now_ms, false, kind, status, cause, request, caller.label)
end

-- A refusal: published for those who listen now, never kept, without a position. `said`: see above; `its_note`: of who asked.
function events.refuse(said, requester, resource_type, name, its_note)
  spent = spent + 1.3 + 2 * (#requester + #name) / budget.step_bytes
  add_whole(caller.head .. said .. pack(requester, resource_type, caller.label, caller.end_user, its_note or false, 0, false, name), false)
  said_before = nil
end

-- A message of what is not kept, behind its number. The state is to be saved after it.
function events.numbered(text)
  kept.not_kept, is_unsaved = kept.not_kept + 1, true
  return caller.numbered .. put('>BI8', UINT64, kept.not_kept) .. text
end

-- The last act of a call: what is kept goes into the history, the state is written, everything is published.
function events.publish()
  local text = size > 0 and text_of_group()
  for n = 1, group_count do
    if group_sizes[n] == 0 then
      groups[n] = events.numbered(groups[n])
    end
  end
  if text and not is_kept then
    text = events.numbered(text)
  end
  if kept_count > 0 or text and is_kept then
    for n = 1, group_count do
      if group_sizes[n] > 0 then
        append(groups[n], group_sizes[n])
      end
    end
    if text and is_kept then
      append(text, size)
    end
    last = position
    save()
  elseif is_unsaved then
    save()
  end
  for n = 1, group_count do
    publish_message(groups[n])
  end
  if text then
    publish_message(text)
  end
end
