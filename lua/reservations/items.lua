-- items: planning the items of one call, which come in columns: of all items the name, then of all the next value, and so on.
--
-- gives  items
-- Columns: name; token (16 bytes); what the replica knows beforehand ('' is as in the item before): of what is taken its tail, the reservation
-- from its requester to its place, which is 0; of other items its requester, packed; of what is taken or prolonged the time to live in ms, 0
-- where none was given.
local CHECKED_EVERY = 16 -- items, between close looks at the budget
local FEW = 2 -- reading so many fields one by one costs less than preparing to read them at once
local WAIT_STEPS = 16 -- what an item that may wait takes beyond one that does not: its wish, its ticket
local values, tokens, knowns, ttls
local mines, has_mines = {}, false -- of items that name a pool, at their number + 1: the field of who has its slots; whether these were looked at
items = { wrong = {} } -- `wrong`: the numbers of the items that were refused because of their token

-- Reads which slots of pools those have who ask by the pools' names, and these slots. Answers whether there were enough of them for that.
local function look_at_slots(count)
  local fields, many, who, slots, slot_count = {}, 0, nil, {}, 0
  for n = 1, count do
    local given, record = values[knowns + n], records[values[n + 1]]
    who = given ~= '' and given or who
    if record and record.capacity > 1 then
      local mine = record.name .. '\0' .. reservation.requester(who)
      many = many + 1
      fields[many], mines[n + 1] = mine, mine
    end
  end
  if many <= FEW then
    return false
  end
  look_at(fields, 1, many)
  for n = 1, many do
    local slot = view[fields[n]]
    if slot then
      slot_count = slot_count + 1
      slots[slot_count] = match(fields[n], '^%Z*') .. '_' .. slot
    end
  end
  look_at(slots, 1, slot_count)
  return true
end

-- Reads the columns of `count` items behind `at`, of which `without` in front have no time to live. Answers where they end.
function items.read(packed, at, count, without)
  values = { unpack_limit(packed, 4 * count - without, at) }
  tokens, knowns, ttls = count + 1, 2 * count + 1, 3 * count + 1 - without
  look_ahead(values, 2, count + 1)
  has_mines = DEFINITIONS and count > FEW and look_at_slots(count)
  return values[1]
end

-- Which items want more than one slot: item -> how many; nil: none.
function items.quantities(packed_pairs)
  if packed_pairs then
    local quantities = {}
    for n = 1, #packed_pairs, 2 do
      quantities[packed_pairs[n]] = packed_pairs[n + 1]
    end
    return quantities
  end
end

-- The items as arrays of name, token, tail, time to live, quantity.
function items.list(count, packed_pairs)
  local quantities, list, tail = items.quantities(packed_pairs), {}, nil
  for n = 1, count do
    local given = values[knowns + n]
    tail = given ~= '' and given or tail
    list[n] = { values[n + 1], values[tokens + n], tail, values[ttls + n], quantities and quantities[n] or 1 }
  end
  return list
end

-- Reads items that stand in such a list.
function items.load(list)
  local count = #list
  has_mines = false
  values, tokens, knowns, ttls = { false }, count + 1, 2 * count + 1, 3 * count + 1
  for n = 1, count do
    values[n + 1], values[tokens + n], values[knowns + n], values[ttls + n] = list[n][1], list[n][2], list[n][3], list[n][4]
  end
end

-- Which items of such a list want more than one slot.
function items.quantities_of(list)
  local quantities
  for n = 1, #list do
    if list[n][5] > 1 then
      quantities = quantities or {}
      quantities[n] = list[n][5]
    end
  end
  return quantities
end

-- How long which items wait: item -> how (see wait.lua); nil: none does.
function items.waits(packed_waits)
  if packed_waits then
    local waits = {}
    for n = 1, #packed_waits do
      waits[packed_waits[n][1]] = { unpack(packed_waits[n], 2) }
    end
    return waits
  end
end

-- What is known of an item: of those before it the last that was said.
local function known_of(n)
  local at = knowns + n
  while values[at] == '' do
    at = at - 1
  end
  return values[at]
end

-- Takes items `first` to `final`. Answers nil, or TOO_MUCH_WORK and the item from which on nothing was done.
function items.take(first, final, quantities, waits)
  local of, token_of, tail_of, ttl_of, tail, steps = values, tokens, knowns, ttls, known_of(first), budget.steps
  local may_run, n = not quantities and not waits, first
  while n <= final do
    local left, record = n, has_mines and may_run and records[of[n + 1]]
    if record and record.is_plain_pool then
      left, tail = runs.take_slots(record, mines, of, n, min(n + CHECKED_EVERY - n % CHECKED_EVERY, final), token_of, tail_of, ttl_of, tail)
    elseif may_run and view[of[n + 1]] == false then
      left, tail = runs.take(of, n, min(n + CHECKED_EVERY - n % CHECKED_EVERY, final), token_of, tail_of, ttl_of, tail)
    end
    if left == n then
      local given = of[tail_of + n]
      if given ~= '' then
        tail = given
      end
      local wait, status = waits and waits[n], nil
      if wait then
        spent = spent + WAIT_STEPS
        status = take_or_wait(wait, of[n + 1], of[token_of + n], tail, of[ttl_of + n], quantities and quantities[n])
      else
        status = take(of[n + 1], of[token_of + n], tail, of[ttl_of + n], quantities and quantities[n])
      end
      if status == 'TTL' then
        items.is_ttl_refused = true
      elseif status == 'TOO_MUCH_WORK' or status == 'WAITING_LIMIT' then
        return status, n
      end
      left = n + 1
    end
    if spent > steps or (left - 1) % CHECKED_EVERY == 0 and is_too_much() then
      return 'TOO_MUCH_WORK', left
    end
    n = left
  end
end

-- Notes the number of an item whose token is wrong.
function items.note_wrong(n)
  items.wrong_count = items.wrong_count + 1
  items.wrong[items.wrong_count] = n
end

-- Gives items `first` to `final` back. Answers as items.take.
function items.release(first, final)
  local of, token_of, who_of, who, steps, n = values, tokens, knowns, known_of(first), budget.steps, first
  while n <= final do
    local left, record = n, has_mines and records[of[n + 1]]
    if record and record.is_plain_pool then
      left, who = runs.release_slots(record, mines, of, n, min(n + CHECKED_EVERY - n % CHECKED_EVERY, final), token_of, who_of, who)
    elseif view[of[n + 1]] then
      left, who = runs.release(of, n, min(n + CHECKED_EVERY - n % CHECKED_EVERY, final), token_of, who_of, who)
    end
    if left == n then
      local given = of[who_of + n]
      if given ~= '' then
        who = given
      end
      if release(of[n + 1], of[token_of + n], who) == 'INVALID_RELEASE_TOKEN' then
        items.note_wrong(n)
      end
      left = n + 1
    end
    if spent > steps or (left - 1) % CHECKED_EVERY == 0 and is_too_much() then
      return 'TOO_MUCH_WORK', left
    end
    n = left
  end
end

-- Moves the deadlines of items `first` to `final`. Answers as items.take.
function items.renew(first, final)
  local of, token_of, who_of, ttl_of, who, steps = values, tokens, knowns, ttls, known_of(first), budget.steps
  for n = first, final do
    local given = of[who_of + n]
    if given ~= '' then
      who = given
    end
    local status = prolong(of[n + 1], of[token_of + n], who, of[ttl_of + n])
    if status == 'INVALID_RELEASE_TOKEN' then
      items.note_wrong(n)
    elseif status == 'TTL' then
      items.is_ttl_refused = true
    end
    if spent > steps or n % CHECKED_EVERY == 0 and is_too_much() then
      return 'TOO_MUCH_WORK', n + 1
    end
  end
end

-- The only item of a call, which came without columns, is wrong.
function items.set_one(name, known)
  values, tokens, knowns, ttls = { false, name, false, known, false }, 2, 3, 4
  items.note_wrong(1)
end

-- The columns that were read, as one table and where in it those behind the names begin; each item's value of what is known is there.
function items.columns(count)
  local known
  for n = knowns + 1, knowns + count do
    if values[n] == '' then
      values[n] = known
    else
      known = values[n]
    end
  end
  return values, tokens, knowns, ttls
end
