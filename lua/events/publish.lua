-- publish: events of the tenant's own platform, in the tenant's one order with everything else.
--
-- function  publish
-- flags
-- keys
--   1 meta         hash    the tenant's state, credentials
--   2 history      list    the kept events
--   3 companies    hash    slug -> packed company
--   4 company_ids  hash    company's id -> its slug
--   5 dedupe       zset    dedupe id -> the position that its event got, for an hour
-- args
--   1 caller       see core/caller.lua
--   2 call         packed: cost, floor, then, of a call that goes on in others, the array of those others' different company slugs
--   3.. sextets of type, company id or empty, company slug or empty, data (JSON on one line), timestamp in ms or 0, dedupe id or
--       empty
-- returns       OK, now_us, position, then the position of each event
--               | UNKNOWN_COMPANY, now_us, position, then per event, and per slug of the others: true when it is not registered
--               | TOO_MUCH_WORK, now_us, position | STALE, RATE as reserve
-- cost          O(events * log dedupe ids + bytes), bounded
-- invariants    one unregistered slug and nothing is published; a dedupe id that was seen within the hour publishes nothing
local DEDUPE_US = 3600 * 1000000
local LONG_ID = 40 -- bytes; of a longer dedupe id its SHA-1 is kept, which is as long
local GROUP_BYTES = 64 * 1024 -- of one message and entry of the history, so that a page of it does not grow beyond that
local EVENT = 6 -- arguments of an event
local AT_ONCE = 2000

-- What is kept of each event's dedupe id, or '', by the number of its first argument; a list of them without ''.
local function read_dedupe_ids(args)
  local id_of, ids = {}, {}
  for n = 3, #args, EVENT do
    local id = args[n + 5]
    if #id > LONG_ID then
      id = redis.sha1hex(id)
    end
    id_of[n] = id
    if id ~= '' then
      ids[#ids + 1] = id
    end
  end
  return id_of, ids
end

-- The position that each of these dedupe ids got within the last hour.
local function read_positions(key, ids)
  local positions = {}
  for from = 1, #ids, AT_ONCE do
    local found = call('ZMSCORE', key, unpack(ids, from, min(from + AT_ONCE - 1, #ids)))
    for n = 1, #found do
      local at = tonumber(found[n])
      positions[ids[from + n - 1]] = at and at > now_us - DEDUPE_US and at or nil
    end
  end
  spent = spent + #ids / 2
  return positions
end

-- The company that is registered under a slug, by its id; `known` remembers it. False: there is none.
local function company_of(key, slug, known)
  if known[slug] == nil then
    local company = call('HGET', key, slug)
    known[slug], spent = company and unpack_sequence(company), spent + 1
  end
  return known[slug]
end

-- Remembers positions and dedupe ids, in turn, and forgets twice as many of those that are too old.
local function remember(key, fresh)
  local old = min(call('ZCOUNT', key, '-inf', digits(now_us - DEDUPE_US)), #fresh + 100)
  if old > 0 then
    call('ZREMRANGEBYRANK', key, '0', digits(old - 1))
  end
  for from = 1, #fresh, AT_ONCE do
    call('ZADD', key, unpack(fresh, from, min(from + AT_ONCE - 1, #fresh)))
  end
  call('PEXPIRE', key, digits(DEDUPE_US / 1000))
end

function publish(keys, args)
  local refusal = begin_call(keys, args)
  if refusal then
    return refusal
  end
  HISTORY = keys[2]
  local companies, company_ids, dedupe = keys[3], keys[4], keys[5]
  local id_of, ids = read_dedupe_ids(args)
  local position_of_id, known, is_unknown, is_refused = read_positions(dedupe, ids), {}, {}, false
  local bytes = 0
  for n = 3, #args, EVENT do
    local slug = args[n + 2]
    local is_bad = slug ~= '' and not company_of(companies, slug, known)
    is_unknown[#is_unknown + 1], is_refused = is_bad, is_refused or is_bad
    bytes = bytes + #args[n] + #args[n + 1] + #slug + #args[n + 3]
  end
  local _, _, _, others = unpack_limit(args[2], 3, 0)
  for n = 1, others and #others or 0 do
    local is_bad = not company_of(companies, others[n], known)
    is_unknown[#is_unknown + 1], is_refused = is_bad, is_refused or is_bad
  end
  if is_refused then
    return close_call('UNKNOWN_COMPANY') .. pack_list(is_unknown)
  end
  spent = spent + (#args - 2) / EVENT + #ids + bytes / budget.step_bytes
  if spent > budget.steps then
    return close_call('TOO_MUCH_WORK')
  end

  events.reset()
  local head, positions, fresh, group_bytes = '\161P' .. sub(caller.head, 3), {}, {}, 0
  for n = 3, #args, EVENT do
    local kind, company, slug, data, stamp, id = args[n], args[n + 1], args[n + 2], args[n + 3], tonumber(args[n + 4]), id_of[n]
    local at = position_of_id[id]
    if not at then
      next_position()
      at = position
      if slug ~= '' then
        company = known[slug]
      elseif company ~= '' then
        slug = call('HGET', company_ids, company)
      else
        company, slug = false, false
      end
      local tail = pack(now_ms, kind, company, slug, data, stamp ~= 0 and stamp or now_ms)
      group_bytes = group_bytes + #tail
      if group_bytes > GROUP_BYTES then
        events.close_group()
        group_bytes = #tail
      end
      events.keep(head, tail)
      if id ~= '' then
        position_of_id[id] = at
        fresh[#fresh + 1], fresh[#fresh + 2] = digits(at), id
      end
    end
    positions[#positions + 1] = at
  end
  if #fresh > 0 then
    remember(dedupe, fresh)
  end
  events.publish()
  return outcome('OK') .. pack_list(positions)
end
