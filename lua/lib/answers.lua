-- answers: what scripts over the plan answer per item, and how they tell it.
--
-- Twelve values tell what became of a wanted resource, four what became of a release; see the headers of reserve and unreserve.

-- Takes a resource and adds its twelve values to the answer. Answers as take() does: status, physical name, reservation.
local function answer_take(out, requester, resource, token, ttl_ms, kind, note, fence)
  local status, physical, reservation, obstacle, in_the_way, holder, until_ms = take(requester, resource, token, ttl_ms, kind, note, fence)
  local n = #out
  out[n + 1] = status
  if reservation then
    local ends = free_at(physical, reservation)
    out[n + 2], out[n + 3], out[n + 4] = reservation[TOKEN], reservation[FENCE], reservation[DEADLINE]
    out[n + 5], out[n + 6] = requester, ends
    out[n + 7], out[n + 8] = reservation[POOL], reservation[POOL] and physical
    out[n + 9], out[n + 10] = reservation[BLOCKERS], reservation[PATH]
    out[n + 11], out[n + 12] = false, false
  else
    out[n + 2], out[n + 3], out[n + 4] = false, false, false
    out[n + 5], out[n + 6] = holder or false, until_ms or false
    out[n + 7], out[n + 8], out[n + 9], out[n + 10] = false, false, false, false
    out[n + 11], out[n + 12] = obstacle, in_the_way
  end
  return status, physical, reservation
end

-- The obstacle of the item that was just answered, as its event carries it.
local function cause_of(out)
  local n = #out
  return { out[n - 1], out[n], out[n - 7] or '', out[n - 6] }
end

-- Releases a claim and adds its four values to the answer. Answers status, physical name, the reservation that ended.
local function answer_release(out, requester, resource, token)
  local physical, refusal, holder, until_ms = claim(requester, resource, token)
  local n = #out
  out[n + 2], out[n + 3], out[n + 4] = false, false, false
  if physical then
    local ended, released = held[physical], {}
    give_up(physical, released)
    out[n + 1], out[n + 2] = 'RELINQUISHED', released
    return 'RELINQUISHED', physical, ended
  end
  out[n + 1], out[n + 3], out[n + 4] = refusal, holder or false, until_ms or false
  return refusal, resource
end

-- Whether the call would pass the tenant's limit, or what one call may change: the refusal to answer, or nil.
local function refusal_of_call()
  if too_many() then
    return cmsgpack.pack({ 'TOO_MANY', now_us, math.max(last, floor) })
  end
  if HELD_LIMIT > 0 and held_change > 0 then
    local present = redis.call('HLEN', HELD)
    if present + held_change > HELD_LIMIT then
      return over_held_limit(present)
    end
  end
end

-- Tells events in order: those with a position are kept, the others are refusals. Then the call is over.
local function tell_all(events)
  local kept = false
  for _, event in ipairs(events) do
    if event[1] then
      kept = true
      tell(unpack(event))
    else
      tell_refusal(unpack(event, 2))
    end
  end
  if kept then
    commit()
  else
    commit_refusals()
  end
end

-- Ends a call that was planned to its end: refuses it whole, or writes, tells and answers.
local function finish(out, events)
  local refusal = refusal_of_call()
  if refusal then
    return refusal
  end
  write()
  tell_all(events)
  out[3] = position
  return cmsgpack.pack(out)
end
