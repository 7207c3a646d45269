-- straight_groups: a transaction of one group, all or none, of names that stand alone: all of them free, or all of them given back rightly.
--
-- gives  transact_straight
-- The same decision as `groups`, without what only other groups need, for three fifths of the cost. Whatever is not so plain is answered false,
-- with nothing done, and goes the common way.
local TAKEN = '\179TRANSACTION_APPLIED\168ACQUIRED\194\167RESERVE'
local GIVEN_BACK = '\179TRANSACTION_APPLIED\172RELINQUISHED\194\169UNRESERVE'
local APPLIED = '\167APPLIED'
local EXTRA = '\146\171ALL_OR_NONE\220' -- packed: an array of the method and an array of changes, whose number follows
local ACQUIRED, RELINQUISHED = '\167RESERVE\168ACQUIRED', '\169UNRESERVE\172RELINQUISHED'
local CHANGE = '\151'
local NO_PLACE = '\194\194\194\194\0' -- packed: of a tail, what is behind the requester where nothing is said
local ITEMS_MOST = 32 -- more are few calls, and are looked at with a budget

-- Whether no two of the names are alike, and each stands alone.
local function stand_alone(values, count)
  local seen = {}
  for n = 2, count + 1 do
    local name = values[n]
    if seen[name] or DEFINITIONS and (find(name, '>', 1, true) or find(name, '_', 1, true) and definitions.as_slot(name)) then
      return false
    end
    seen[name] = true
  end
  local found = DEFINITIONS and call('HMGET', DEFINITIONS, unpack(values, 2, count + 1))
  for n = 1, found and count or 0 do
    if found[n] then
      return false
    end
  end
  return true
end

local function close(at, said, fence, changes, count, requester, answer_text)
  local event = caller.head .. put('>BI8', UINT64, last) .. fence .. said .. caller.packed_label .. (requester or FALSE) .. NO_PLACE
    .. EXTRA .. put('>I2', count) .. concat(changes) .. FALSE
  position = at
  return straight.close(event, APPLIED .. answer_text)
end

local function take_all(values, count)
  local tokens, tails, ttls = count + 1, 2 * count + 1, 3 * count + 1
  local ttl_ms = values[ttls + 1]
  for n = 2, count do
    if values[ttls + n] ~= ttl_ms then
      return false
    end
  end
  local found = call('HMGET', HELD, unpack(values, 2, count + 1))
  for n = 1, count do
    if found[n] then
      return false
    end
  end
  local lasts_ms = ttl_ms > 0 and ttl_ms or caller.default_ttl_ms
  local deadline_ms = lasts_ms > 0 and ceil(now_us / 1000) + lasts_ms
  local at = position < now_us and now_us or position + 1
  local fence, now_packed = put('>BI8', UINT64, at), put('>BI8', UINT64, now_ms)
  local deadline_packed = deadline_ms and put('>BI8', UINT64, deadline_ms) or FALSE
  local stamp = fence .. deadline_packed .. now_packed
  local begins, ends, deadline_text = stamp .. TEXT_16, fence .. deadline_packed .. FALSE, deadline_ms and digits(deadline_ms)
  local held, dated, changes, tail, requester, one_requester = {}, {}, {}, nil, nil, nil
  for n = 1, count do
    local name, given = values[n + 1], values[tails + n]
    if given ~= '' then
      tail, requester = given, reservation.requester(given)
      requester = text_head(requester) .. requester
      one_requester = (n == 1 or one_requester == requester) and requester
    end
    held[2 * n - 1], held[2 * n] = name, begins .. values[tokens + n] .. tail
    dated[2 * n - 1], dated[2 * n] = deadline_text, name
    changes[n] = CHANGE .. text_head(name) .. name .. requester .. ACQUIRED .. ends
  end
  call('HSET', HELD, unpack(held, 1, 2 * count))
  if deadline_ms then
    call('ZADD', DEADLINES, unpack(dated, 1, 2 * count))
    straight.note_deadline(deadline_ms)
  end
  held_count = held_count + count
  return close(at, TRUE .. TAKEN, fence .. FALSE .. now_packed, changes, count, one_requester, string.rep(stamp, count))
end

local function give_all(values, count)
  local tokens, whos = count + 1, 2 * count + 1
  local found = call('HMGET', HELD, unpack(values, 2, count + 1))
  local dated, dated_count, changes, who, one_who = {}, 0, {}, nil, nil
  for n = 1, count do
    local name, packed, given = values[n + 1], found[n], values[whos + n]
    if given ~= '' then
      who = given
      one_who = (n == 1 or one_who == who) and who
    end
    local stamp = packed and byte(packed, -1) == 0 and reservation.proved(packed, values[tokens + n], who)
    if not stamp then
      return false
    elseif stamp == 27 then
      dated_count = dated_count + 1
      dated[dated_count] = name
    end
    changes[n] = CHANGE .. text_head(name) .. name .. who .. RELINQUISHED .. sub(packed, 1, 9) .. FALSE .. FALSE
  end
  call('HDEL', HELD, unpack(values, 2, count + 1))
  if dated_count > 0 then
    call('ZREM', DEADLINES, unpack(dated, 1, dated_count))
  end
  held_count = held_count - count
  straight.note_nothing_held()
  local at = position < now_us and now_us or position + 1
  local term = FALSE .. FALSE .. put('>BI8', UINT64, now_ms)
  return close(at, put('>BI8', UINT64, at) .. GIVEN_BACK, term, changes, count, one_who, string.rep(TRUE, count))
end

-- Carries out the transactions behind `at` where they are so plain. Answers the call's answer, or false.
function transact_straight(packed, at)
  if straight.is_busy() or caller.greatest_ttl_ms > 0 or caller.must_be_registered then
    return false
  end
  local total, method, request, count, quantities, wait
  at, total, method, request, count, quantities, wait = unpack_limit(packed, 6, at)
  if total ~= 1 or method ~= 'ALL_OR_NONE' or count > ITEMS_MOST or quantities or wait then
    return false
  end
  local is_release = request == 'UNRESERVE'
  if not is_release and caller.held_limit > 0 and held_count + count > caller.held_limit then
    return false
  end
  local values = { unpack_limit(packed, (is_release and 3 or 4) * count, at) }
  if not stand_alone(values, count) then
    return false
  end
  return (is_release and give_all or take_all)(values, count)
end
