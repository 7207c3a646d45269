-- counters: how many jobs of a queue or a worker ended when, in rings of slots; a slot carries the number of its span, for it is used again.
--
-- gives  counters
-- A ring: the letter of its fields, how many slots of 5 minutes make one of its spans, and how many spans it has.
local SLOT_MS = 300000
local RINGS = { q = { { 'm', 1, 13 }, { 'h', 6, 13 }, { 'd', 12, 169 } }, w = { { 'm', 1, 13 } } }
local suffixes = { q = {}, w = {} } -- of the fields of all slots
for kind, rings in pairs(RINGS) do
  for _, ring in ipairs(rings) do
    for slot = 0, ring[3] - 1 do
      suffixes[kind][#suffixes[kind] + 1] = '\0' .. ring[1] .. slot
    end
  end
end
local ended, ended_order -- counter, slot -> counter, slot, kind, row, completed, failed, waited ms, of how many
counters = {}

function counters.begin()
  ended, ended_order = {}, {}
end

-- A job ended at `ms`, of the queue or the worker (`kind`: q, w) of this name. `waited_ms`: how long it waited, or false.
function counters.add(connection, kind, name, ms, is_completed, is_failed, waited_ms)
  local counter, slot = connection .. kind .. name, floor(min(ms, now_ms) / SLOT_MS)
  local field = counter .. '\0' .. slot
  local tally = ended[field]
  if not tally then
    tally = { counter, slot, kind, connection .. name, 0, 0, 0, 0 }
    ended[field] = tally
    ended_order[#ended_order + 1] = tally
    spent = spent + 2 * (#RINGS[kind] + 1)
  end
  tally[5] = tally[5] + (is_completed and 1 or 0)
  tally[6] = tally[6] + (is_failed and 1 or 0)
  if waited_ms then
    tally[7], tally[8] = tally[7] + max(waited_ms, 0), tally[8] + 1
  end
end

-- The counts of a slot with a tally added, packed; false where the slot is used for a later span.
local function add_tally(packed, span, tally)
  local present, completed, failed, waited, of = span, 0, 0, 0, 0
  if packed then
    present, completed, failed, waited, of = unpack_sequence(packed)
  end
  if present < span then
    completed, failed, waited, of = 0, 0, 0, 0
  elseif present > span then
    return false
  end
  return pack(span, completed + tally[5], failed + tally[6], waited + tally[7], of + tally[8])
end

-- Writes what was added, of queues and workers that are kept.
function counters.write()
  local fields, spans, tallies, exists, sums, writes = {}, {}, {}, {}, {}, {}
  for _, tally in ipairs(ended_order) do
    if exists[tally[1]] == nil then
      exists[tally[1]] = call('HEXISTS', tally[3] == 'q' and key.queues or key.workers, tally[4]) == 1
    end
    for _, ring in ipairs(exists[tally[1]] and RINGS[tally[3]] or {}) do
      local n, span = #fields + 1, floor(tally[2] / ring[2])
      fields[n], spans[n], tallies[n] = tally[1] .. '\0' .. ring[1] .. span % ring[3], span, tally
    end
  end
  for from = 1, #fields, 2000 do
    local found = call('HMGET', key.counts, unpack(fields, from, min(from + 1999, #fields)))
    for n = 1, #found do
      local at = from + n - 1
      local field = fields[at]
      local sum = add_tally(sums[field] or found[n], spans[at], tallies[at])
      sums[field] = sum or sums[field]
    end
  end
  for field, sum in pairs(sums) do
    writes[#writes + 1], writes[#writes + 2] = field, sum
  end
  monitor.run('HSET', key.counts, writes, 2)
end

-- Forgets the counts of a queue or a worker.
function counters.forget(counter, kind)
  local fields = {}
  for n, suffix in ipairs(suffixes[kind]) do
    fields[n] = counter .. suffix
  end
  monitor.run('HDEL', key.counts, fields)
  spent = spent + #fields / 2
end
