#!lua
-- transactions: groups of reserves and releases, each group atomic; the call is planned to its end before anything is written.
--
-- uses          open, limit, change, view, pools, plan, write, lapse, answers
-- keys
--   1 meta         hash    position, earliest deadline, credentials
--   2 held         hash    resource -> packed reservation
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      stream  what subscribers are told
--   5 due          zset    tenant -> its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 pools        hash    pool -> packed counts; who holds which slot
--   8 slots        zset    free ranges, deadlines and fences of pools
--   9 uses         zset    who holds a blocker
--   10 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
--   2.. per transaction: method (ALL_OR_NONE, AS_MANY_AS_POSSIBLE, FIRST), request type (RESERVE, UNRESERVE), number of items,
--       then the items: sextets as in reserve, or triples as in unreserve
-- returns       OK, now_us, position, then per transaction: APPLIED or ROLLED_BACK, then its items' values as reserve or unreserve
--               answer them | BAD_TOKEN as in unreserve, over all items in order | LIMIT as in reserve | TOO_MANY, now_us, position
-- cost          O(items * (depth + blocks) * log held)
-- invariants    a bad token or a passed limit anywhere refuses the call, and nothing changes; a reader never sees half a group
local out = { 'OK', now_us, position }
local wrong, refused = { 'BAD_TOKEN', now_us, position }, false
local events, most_held = {}, 0

-- Answers of an item that is not carried out.
local function skip_reserve(at, status)
  out[at + 1] = status
  for n = at + 2, at + 12 do
    out[n] = false
  end
end

local function skip_release(at, status)
  out[at + 1], out[at + 2], out[at + 3], out[at + 4] = status, false, false, false
end

local function change_of(request, physical, requester, status, reservation)
  return { physical, requester, request, status, reservation and reservation[FENCE] or false, reservation and reservation[DEADLINE] or false,
    reservation and reservation[POOL] or false }
end

-- Whether a requester holds something by this name: the physical name, or nil.
local function holds(requester, resource)
  local reservation = find(resource)
  if not reservation then
    local definition, index = resolve(resource)
    local slot = definition and definition.capacity > 1 and not index and pool_field(resource .. '\0' .. requester)
    resource, reservation = slot, slot and find(slot)
  end
  if reservation and reservation[REQUESTER] == requester and reservation[TOKEN] and not (END_USER and reservation[SUBJECT] ~= END_USER) then
    return resource
  end
end

-- One RESERVE transaction over the sextets from `first` to `final`. Answers whether it stands, whether it changed anything, its items.
local function reserve_group(method, first, final, fence)
  local before, changes, failed, had, acquired = mark(), {}, false, false, false
  local chosen
  if method == 'FIRST' then
    for i = first, final, 6 do
      if holds(ARGV[i], ARGV[i + 1]) then
        chosen = i
        break
      end
    end
  end
  for i = first, final, 6 do
    local requester, resource = ARGV[i], ARGV[i + 1]
    local at, single = #out, mark()
    if method == 'FIRST' and (acquired or had) then
      skip_reserve(at, 'SKIPPED')
      changes[#changes + 1] = change_of('RESERVE', resource, requester, 'SKIPPED')
    else
      local status, physical, reservation = answer_take(out, requester, resource, ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5], fence)
      if chosen and i < chosen and reservation then
        -- Free, but this requester has one further on: that one is the answer.
        undo(single)
        skip_reserve(at, 'SKIPPED')
        status, physical, reservation = 'SKIPPED', resource, nil
      end
      acquired = acquired or status == 'ACQUIRED'
      had = had or status == 'ALREADY_HAD'
      failed = failed or not reservation
      changes[#changes + 1] = change_of('RESERVE', physical or resource, requester, status, reservation)
    end
  end
  local stands = acquired or had
  if method == 'ALL_OR_NONE' then
    stands = not failed
  end
  if not stands then
    undo(before)
    for n, change in ipairs(changes) do
      local at = #out - 12 * (#changes - n + 1)
      local i = first + 6 * (n - 1)
      if change[4] == 'ACQUIRED' or (change[4] == 'ALREADY_HAD' and not holds(ARGV[i], ARGV[i + 1])) then
        skip_reserve(at, 'ROLLED_BACK')
        changes[n] = change_of('RESERVE', ARGV[i + 1], ARGV[i], 'ROLLED_BACK')
      end
    end
  end
  return stands, acquired and stands, changes
end

-- One UNRESERVE transaction over the triples from `first` to `final`.
local function release_group(method, first, final)
  local before, changes, conflict, free, released = mark(), {}, false, false, false
  for i = first, final, 3 do
    local requester, resource = ARGV[i], ARGV[i + 1]
    local at, single = #out, mark()
    local status, physical, ended = answer_release(out, requester, resource, ARGV[i + 2])
    wrong[#wrong + 1] = status == 'INVALID_RELEASE_TOKEN'
    refused = refused or status == 'INVALID_RELEASE_TOKEN'
    if method == 'FIRST' and released then
      undo(single)
      skip_release(at, 'SKIPPED')
      status, ended = 'SKIPPED', nil
    end
    released = released or status == 'RELINQUISHED'
    free = free or status == 'NOT_RESERVED'
    conflict = conflict or status == 'DOESNT_OWN_RESERVATION'
    changes[#changes + 1] = change_of('UNRESERVE', ended and physical or resource, requester, status, ended)
    changes[#changes][6] = false
  end
  local stands = released or free
  if method == 'ALL_OR_NONE' then
    stands = not conflict
  end
  if not stands then
    undo(before)
    for n, change in ipairs(changes) do
      if change[4] == 'RELINQUISHED' then
        skip_release(#out - 4 * (#changes - n + 1), 'ROLLED_BACK')
        change[4], change[5] = 'ROLLED_BACK', false
      end
    end
  end
  return stands, released and stands, changes
end

local i = 2
while i <= #ARGV do
  local method, request, items = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local slot_of_status, before = #out + 1, position
  local width = request == 'RESERVE' and 6 or 3
  local first, final = i + 3, i + 2 + items * width
  out[slot_of_status] = 'APPLIED'
  local at = next_position()
  local stands, changed, changes
  if request == 'RESERVE' then
    stands, changed, changes = reserve_group(method, first, final, at)
    for _ = 1, items do
      wrong[#wrong + 1] = false
    end
  else
    stands, changed, changes = release_group(method, first, final)
  end
  position = changed and at or before
  out[slot_of_status] = stands and 'APPLIED' or 'ROLLED_BACK'
  most_held = math.max(most_held, held_change)
  local requester = ARGV[first]
  for item = first, final, width do
    requester = requester == ARGV[item] and requester
  end
  if changed or not stands then
    local kind = stands and 'TRANSACTION_APPLIED' or 'TRANSACTION_ROLLED_BACK'
    local word = not stands and 'ROLLED_BACK' or request == 'RESERVE' and 'ACQUIRED' or 'RELINQUISHED'
    events[#events + 1] = { changed and at, kind, word, false, request, false, requester, false, LABEL, changed and request == 'RESERVE' and at, false, false,
      false, method, changes }
  end
  i = final + 1
end

if refused then
  return cmsgpack.pack(wrong)
end
held_change = most_held
return finish(out, events)
