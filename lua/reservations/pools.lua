-- pools: which slots of a pool are held. A pool has a range of the tenant's bitmap; a bit is set while its slot is held.
--
-- gives  pools
-- Beside the bits stands, in `held` under pool\0 while something of it is held: how many slots within the capacity are held; how many
-- beyond it, of when it was larger; `lowest`: every slot below it is held; whether that one is known to be free; `top`: every slot from it on is
-- free.
-- In the index: p pool\0, deadline, slot for slots that end; v pool\0, fence, slot for slots with a token; both numbers as eight bytes.
local COUNTS = '<I4I4I4I4B'
pools = {}
local POOLS_MOST = 4096 -- tables that are kept
local known, known_count = {}, 0 -- the tables: their fields are of one call
local all, names, count = {}, {}, 0 -- pool -> counts, as the call sees them
local soonest = {} -- of the pool whose first deadline was asked for last: that, and what the call had staged then

function pools.reset()
  for n = 1, count do
    all[names[n]] = nil
  end
  count, soonest.pool = 0, nil
end

-- The counts of a pool, by its name.
local function counts_of(name)
  local counts = all[name]
  if counts then
    return counts
  end
  local text = look(name .. '\0')
  counts = known[name]
  if not counts then
    if known_count >= POOLS_MOST then
      known, known_count = {}, 0
    end
    counts = { freed = {} }
    known[name], known_count = counts, known_count + 1
  end
  counts.text, counts.freed_count = text, 0
  if text then
    counts.held, counts.beyond, counts.lowest, counts.top, counts.is_free = take_apart(COUNTS, text)
  else
    counts.held, counts.beyond, counts.lowest, counts.top, counts.is_free = 0, 0, 0, 0, 1
  end
  count = count + 1
  all[name], names[count] = counts, name
  return counts
end

function pools.free(pool)
  return pool.capacity - counts_of(pool.name).held
end

local function note_counts(counts)
  if counts.noted == marked then
    return
  end
  counts.noted = marked
  note(counts, 'held')
  note(counts, 'beyond')
  note(counts, 'lowest')
  note(counts, 'top')
  note(counts, 'is_free')
end

-- The lowest free slot as a number, or nil where not as many as `wanted` are free. What this call has given back is free though its bit is
-- still set; what it has taken is not.
function pools.lowest_free(pool, wanted)
  local counts = counts_of(pool.name)
  local capacity = pool.capacity
  if counts.held + wanted > capacity then
    return nil
  end
  local lowest, first_bit = counts.lowest, pool.first_bit
  if counts.is_free == 1 or lowest >= counts.top then
    return lowest
  end
  local best
  local freed = counts.freed
  if counts.freed_count > 0 then
    spent = spent + counts.freed_count / budget.turns
    for n = 1, counts.freed_count do
      local number = freed[n]
      if number >= lowest and number < capacity and (not best or number < best) and bit_now[first_bit + number] == false then
        best = number
      end
    end
  end
  local from, final = first_bit + lowest, text_of(first_bit + capacity - 1)
  repeat
    spent = spent + 1
    local bit = call('BITPOS', SLOTS, '0', text_of(from), final, 'BIT')
    if bit < 0 or best and first_bit + best < bit then
      return best
    end
    from = bit + 1
  until not bit_now[bit]
  return from - 1 - first_bit
end

function pools.take(pool, number)
  local counts = counts_of(pool.name)
  if marked then
    note_counts(counts)
  end
  stage.set_bit(pool.first_bit + number, true)
  if number >= pool.capacity then
    counts.beyond = counts.beyond + 1
    return
  end
  counts.held = counts.held + 1
  if number == counts.lowest then
    counts.lowest, counts.is_free = number + 1, 0
  end
  if number >= counts.top then
    counts.top = number + 1
  end
end

-- Takes the lowest free slots, at most `wanted`, into `numbers`. Answers how many.
function pools.take_run(pool, wanted, numbers)
  local found = 0
  while found < wanted do
    local number = pools.lowest_free(pool, 1)
    if not number then
      break
    end
    pools.take(pool, number)
    found = found + 1
    numbers[found] = number
  end
  return found
end

function pools.give(pool, number)
  local counts = counts_of(pool.name)
  if marked then
    note_counts(counts)
  end
  stage.set_bit(pool.first_bit + number, false)
  if number >= pool.capacity then
    counts.beyond = counts.beyond - 1
    return
  end
  counts.held = counts.held - 1
  if number <= counts.lowest then
    counts.lowest, counts.is_free = number, 1
  end
  -- In any case: once a lower one is given back and taken, this is the lowest, and its bit is still set.
  counts.freed_count = counts.freed_count + 1
  counts.freed[counts.freed_count] = number
end

-- Stages what the call has changed of the counts.
function pools.write()
  for n = 1, count do
    local counts = all[names[n]]
    local text = counts.held + counts.beyond > 0 and put(COUNTS, counts.held, counts.beyond, counts.lowest, counts.top, counts.is_free)
    if text ~= counts.text then
      if text then
        set_held(names[n] .. '\0', text)
      else
        drop_held(names[n] .. '\0')
      end
    end
  end
end

-- For a call that does nothing else with a pool, and whose counts are `text`: the lowest free slot as text, and the counts once that is held; nil where
-- none is free.
function pools.take_lowest(pool, text)
  local held, beyond, lowest, top, is_free = 0, 0, 0, 0, 1
  if text then
    held, beyond, lowest, top, is_free = take_apart(COUNTS, text)
  end
  if held >= pool.capacity then
    return nil
  end
  local number, first_bit = lowest, pool.first_bit
  if is_free == 0 and lowest < top then
    number = call('BITPOS', SLOTS, '0', text_of(first_bit + lowest), text_of(first_bit + pool.capacity - 1), 'BIT') - first_bit
  end
  return text_of(number), put(COUNTS, held + 1, beyond, number + 1, number < top and top or number + 1, 0)
end

-- The same when one of its slots is given back: the counts once it is free; nil where nothing is held any more.
function pools.give_back(text, number)
  local held, beyond, lowest, top, is_free = take_apart(COUNTS, text)
  if number <= lowest then
    lowest, is_free = number, 1
  end
  return held + beyond > 1 and put(COUNTS, held - 1, beyond, lowest, top, is_free) or nil
end

-- The earliest deadline of a pool's slots in ms, or false.
function pools.first_deadline(pool_name)
  local sets, gone = stage.index_changes()
  if soonest.pool ~= pool_name or soonest.sets ~= sets or soonest.gone ~= gone or soonest.marked ~= marked then
    local first = stage.find_member('p' .. pool_name, nil, false)
    soonest.deadline_ms = first and take_apart('>I8', first, #pool_name + 3) or false
    soonest.pool, soonest.sets, soonest.gone, soonest.marked = pool_name, sets, gone, marked
  end
  return soonest.deadline_ms
end

-- Clears every bit: nothing is held any more.
function pools.clear()
  local bytes = call('STRLEN', SLOTS)
  if bytes > 0 then
    call('UNLINK', SLOTS)
    call('SETBIT', SLOTS, digits(bytes * 8 - 1), '0')
  end
end

-- Counts anew: the capacity has changed.
function pools.set(name, held, beyond, capacity)
  local counts = counts_of(name)
  counts.held, counts.beyond, counts.lowest, counts.top, counts.is_free = held, beyond, 0, capacity, 0
end

-- Whether any slot of a pool is held.
function pools.is_held(name)
  local counts = counts_of(name)
  return counts.held + counts.beyond > 0
end

-- Whether slots beyond the capacity are held.
function pools.beyond(name)
  return counts_of(name).beyond > 0
end
