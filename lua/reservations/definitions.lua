-- definitions: what is registered.
--
-- gives  DEFINITIONS, definitions, record_of, look_ahead, resolve, records, text_of
-- A definition, packed: capacity, first bit and number of bits of its slots, how many resources stand right below it, what pools have to do
-- with its place (1: one of its ancestors is a pool; 2: it is a pool with something below it), then, unless both are empty, its blocks and its
-- ancestors from the root on. Only `register` and `resource_delete` write it.
-- `is_plain_pool` of a record: a pool that stands in no tree and takes nothing along.
-- What was read of a text is remembered with the text: as long as the key has the same, it says the same.
definitions = {}
local FEW = 2 -- reading so many one by one costs less than preparing to read them at once
local RECORDS_MOST, TEXTS_MOST = 4096, 4096 -- remembered at once
local NONE = {}
local known, known_count, texts, texts_count = {}, 0, {}, 0
local names, count, fresh = {}, 0, {}
local RECORD = '<I4I4I4I4B'
definitions.NEAR_POOL, definitions.IS_PARENT_POOL = 1, 2
records = {} -- name -> record, or false: read in this call

function definitions.reset()
  for n = 1, count do
    records[names[n]] = nil
  end
  count = 0
end

-- A small whole number as text, made once.
function text_of(number)
  local text = texts[number]
  if not text then
    if texts_count >= TEXTS_MOST then
      texts, texts_count = {}, 0
    end
    text = format('%d', number)
    texts[number], texts_count = text, texts_count + 1
  end
  return text
end

function definitions.pack(capacity, first_bit, extent, children, near, blocks, ancestors)
  local head = put(RECORD, capacity, first_bit, extent, children, near)
  return (blocks[1] or ancestors[1]) and head .. pack(blocks, ancestors) or head
end

local function read_record(name, text)
  local record = known[name]
  if record and record.text == text then
    return record
  end
  if not record and known_count >= RECORDS_MOST then
    known, known_count = {}, 0
  end
  local capacity, first_bit, extent, children, near, at = take_apart(RECORD, text)
  local blocks, ancestors, path = NONE, NONE, false
  if at <= #text then
    at, blocks, ancestors = unpack_limit(text, 2, at - 1)
    path = ancestors[1] and concat(ancestors, '>') .. '>'
  end
  known_count = record and known_count or known_count + 1
  record = { name = name, text = text, capacity = capacity, first_bit = first_bit, extent = extent, children = children, near = near, blocks = blocks,
    ancestors = ancestors, path = path, depth = #ancestors,
    is_plain_pool = capacity > 1 and near == 0 and children == 0 and not ancestors[1] and not blocks[1] }
  known[name] = record
  return record
end

-- The record of a registered name, or false. `found` is what was read already.
function record_of(name, found)
  local record = records[name]
  if record == nil then
    local text = found
    if text == nil then
      text = call('HGET', DEFINITIONS, name)
      spent = spent + 1
    end
    record = name ~= '' and text and read_record(name, text)
    records[name] = record
    count = count + 1
    names[count] = name
  end
  return record
end

-- Reads records that are all on `list`, and stand in `records` as false until then.
local function read_records(list, many)
  for from = 1, many, 1000 do
    local to = min(from + 999, many)
    local texts = call('HMGET', DEFINITIONS, unpack(list, from, to))
    for n = from, to do
      local name, text = list[n], texts[n - from + 1]
      records[name] = text and read_record(name, text)
    end
  end
  spent = spent + many / 2
end

-- Reads what names `first` to `final` of a list are and who holds them, each once. The list stays as it is during the call.
function look_ahead(list, first, final)
  if final == first then
    return -- it is read when it is asked for
  elseif not DEFINITIONS then
    look_at(list, first, final, true)
    return
  elseif final - first < FEW then
    return
  end
  local unknown = 0
  for n = first, final do
    local name = list[n]
    if records[name] == nil then
      count, unknown = count + 1, unknown + 1
      names[count], records[name], fresh[unknown] = name, false, name
    end
  end
  if unknown > 0 then
    read_records(fresh, unknown)
  end
  unknown = 0
  for n = first, final do
    local record = records[list[n]]
    if not record or record.capacity == 1 then -- a pool's name is never held itself
      unknown = unknown + 1
      fresh[unknown] = list[n]
    end
  end
  look_at(fresh, 1, unknown)
end

-- The pool and the index that a name would have as a slot: "Printer_9" is ("Printer", "9"); "Printer_09" is no slot.
function definitions.as_slot(name)
  local base, index = match(name, '^(.+)_(%d+)$')
  if base and #index <= 6 and (index == '0' or byte(index) ~= 48) then
    return base, index
  end
end

-- The registered node whose path a name spells, or nil.
local function spelled(name)
  local final = match(name, '>([^>]+)$')
  local record = final and record_of(final)
  if not record and final and find(final, '_', 1, true) then
    local base, index = definitions.as_slot(final)
    record = base and record_of(base)
    record = record and record.capacity > 1 and index + 0 < record.capacity and record
  end
  if record and record.path and record.path .. final == name then
    return final
  end
end

-- Whether a name is a slot beyond the capacity of its pool: while it is held, nobody else gets it any more.
function definitions.is_beyond(name)
  local _, slot, exists = resolve(name)
  return slot and not exists
end

-- Where a name stands: its record (of a slot: the pool's) or nil; its index in the pool, as text; whether the pool has that index; of a name that
-- is not registered but spells the path of one that is: that one.
function resolve(name)
  if not DEFINITIONS then
    return
  end
  local record = records[name]
  if record == nil then
    record = record_of(name)
  end
  if record then
    return record
  end
  if find(name, '_', 1, true) then
    local base, index = definitions.as_slot(name)
    local pool = base and record_of(base)
    if pool and pool.capacity > 1 then
      return pool, index, index + 0 < pool.capacity
    end
  end
  if find(name, '>', 1, true) then
    return nil, nil, nil, spelled(name)
  end
end

-- Whether a name is in no way one of those that are registered.
function definitions.stands_alone(name)
  local record, _, _, node = resolve(name)
  return not record and not node
end
