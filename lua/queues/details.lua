-- details: what lists do not show of a job: long texts, arguments, extensions.
--
-- gives  details
-- An array: most retries, progress, args, kwargs, result, stack trace, parent, root, extensions (name, value, stamp in turn), stamps of the first
-- eight, the whole error text where the job has only its beginning. Nothing is written before `write`.
local EXTENSIONS, STAMPS, ERROR = 9, 10, 11
local EXTENSIONS_MOST = 64 -- names
local MAX_RETRIES, PROGRESS = 1, 2
local rows, sizes, extensions, dropped, most_bytes
details = { ERROR = ERROR }

-- Begins a call. `extension_bytes`: the most bytes of a job's extensions.
function details.begin(extension_bytes)
  rows, sizes, extensions, dropped, most_bytes = {}, {}, {}, {}, extension_bytes
end

local function new_row(us)
  return { false, false, false, false, false, false, false, false, {}, { us, us, us, us, us, us, us, us }, false }
end

-- Reads what is known of these jobs.
function details.read(ids)
  for from = 1, #ids, 2000 do
    local found = call('HMGET', key.job_details, unpack(ids, from, min(from + 1999, #ids)))
    for n = 1, #found do
      local id, packed = ids[from + n - 1], found[n]
      rows[id], sizes[id] = packed and unpack_sequence(packed) or new_row(0), packed and #packed or 0
      spent = spent + 1 / 2 + sizes[id] / budget.step_bytes
    end
  end
end

-- The job begins anew: what was known up to `us` is forgotten.
function details.begin_again(id, us)
  extensions[id] = nil
  if rows[id] then
    rows[id] = new_row(us)
  else
    dropped[#dropped + 1] = id
  end
end

-- Of each name the latest value counts. Names beyond the most are left out, and values that do not fit.
local function join_extensions(id, row, new, us)
  local all, known = row[EXTENSIONS], extensions[id]
  if not known then
    known = { at = {}, bytes = 0 }
    for n = 1, #all, 3 do
      known.at[all[n]], known.bytes = n, known.bytes + #all[n] + #all[n + 1]
    end
    extensions[id] = known
  end
  for n = 1, min(#new, 2 * EXTENSIONS_MOST), 2 do
    local name, value = new[n], new[n + 1]
    local at, bytes = known.at[name], known.bytes + #value
    if not at and #all < 3 * EXTENSIONS_MOST and bytes + #name <= most_bytes then
      at = #all + 1
      known.at[name], known.bytes = at, bytes + #name
      all[at], all[at + 1], all[at + 2] = name, value, us
    elseif at and us >= all[at + 2] and bytes - #all[at + 1] <= most_bytes then
      known.bytes = bytes - #all[at + 1]
      all[at + 1], all[at + 2] = value, us
    end
  end
  spent = spent + #new / budget.turns
end

-- Joins the details of an observation with what is known; the later value of each counts.
function details.observe(id, new, us)
  local row = rows[id]
  local stamps = row[STAMPS]
  for n = 1, 8 do
    local value = new[n]
    if n == MAX_RETRIES then
      value = whole(value)
    elseif n == PROGRESS then
      value = whole(value) and max(0, min(value, 1))
    end
    if value ~= false and us >= stamps[n] then
      row[n], stamps[n] = value, us
    end
  end
  join_extensions(id, row, new[EXTENSIONS], us)
end

function details.set_error(id, text)
  rows[id][ERROR] = text
end

-- Writes what was read. Answers by how many bytes it has grown.
function details.write()
  local writes, grown = {}, 0
  for id, row in pairs(rows) do
    local packed = pack(row)
    writes[#writes + 1], writes[#writes + 2], grown = id, packed, grown + #packed - sizes[id]
  end
  for n = 1, #dropped do
    grown = grown - call('HSTRLEN', key.job_details, dropped[n])
  end
  monitor.run('HSET', key.job_details, writes, 2)
  monitor.run('HDEL', key.job_details, dropped)
  return grown
end
