-- shared: several calls of one tenant that are under way at the same moment, each decided by itself and in turn.
--
-- function  shared
-- flags
-- keys      as reserve
-- args
--   1.. pairs of caller, call. A call, packed: cost, floor, kind, then
--       I: items of several calls, each by itself: numbers of items that give back, take and prolong, quantities, waits (as in reserve), columns
--          as in `items`
--       T: as one call of reserve, unreserve or renew: the same numbers, of which only one is not 0, quantities, columns
--       G: as one call of transactions: see there
-- returns       per call, as one text each, what it would be answered by itself; of kind I, per item also LIMIT, limit type, limit, held,
--               earliest deadline_ms or false | TTL, greatest ttl in ms | INVALID_RELEASE_TOKEN | false: nothing was done, it is to be asked by
--               itself
-- cost          as its calls
-- invariants    what becomes of a call does not depend on the others, but for who comes first
local refusals, backlogs, heads, begins = {}, {}, {}, {} -- of each call

-- Plans one call. Answers why it is refused, then of how many items which request.
local function plan_call(packed, at)
  local kind, releases, takes, renewals, quantities
  at, kind = unpack_limit(packed, 1, at)
  if kind == 'G' then
    return plan_transactions(packed, at)
  end
  at, releases, takes, renewals, quantities = unpack_limit(packed, 4, at)
  if kind == 'I' then
    local waits
    at, waits = unpack_limit(packed, 1, at)
    if waits and not TICKETS then
      return 'KEYS'
    end
    calls.each(packed, at, releases, takes, renewals, quantities, waits)
    return nil
  elseif takes > 0 then
    return calls.reserve(packed, at, takes, quantities), takes, 'RESERVE'
  elseif releases > 0 then
    return calls.unreserve(packed, at, releases), releases, 'UNRESERVE'
  end
  return calls.renew(packed, at, renewals), renewals, 'RENEW'
end

-- Plans one of several calls, and takes it back where it is refused. `is_first`: nothing was planned before it.
local function plan_one(packed, is_first)
  local _, _, _, kind = unpack_limit(packed, 3, 0)
  answer('')
  local head = answered
  if kind == 'I' then
    local why = plan_call(packed, (unpack_limit(packed, 2, 0)))
    if why then
      answers[head] = calls.refusal(why)
      return false
    end
    return head
  end
  local to, to_events = mark(), events.mark()
  local to_deferred, to_settled = tickets.mark()
  local why, count, request = plan_call(packed, (unpack_limit(packed, 2, 0)))
  if why then
    undo(to)
    events.undo(to_events)
    tickets.undo(to_deferred, to_settled)
    answered = head
    if why == 'TOO_MUCH_WORK' and not is_first then
      why = 'AGAIN' -- by itself it may not be too much
    end
    answers[head] = calls.refusal(why, count, request)
    return false
  end
  return head
end

function shared(keys, args)
  local many, admitted = #args / 2, nil
  local _, _, floor_at = unpack_limit(args[2], 2, 0)
  local refusal = open(keys[1], floor_at) or plan.lacks_keys(keys)
  if refusal then
    return string.rep(text_head(refusal) .. refusal, many)
  end
  plan.name_keys(keys)
  for n = 1, many do
    local _, cost = unpack_limit(args[2 * n], 1, 0)
    refusals[n] = admit(args[2 * n - 1], cost) or false
    backlogs[n] = backlog
    admitted = admitted or not refusals[n] and n
  end
  if not admitted then
    for n = 1, many do
      refusals[n] = text_head(refusals[n]) .. refusals[n]
    end
    return concat(refusals, '', 1, many)
  end
  meet(args[2 * admitted - 1])
  refusal = plan.prepare()
  for n = 1, many do
    begins[n] = answered + 1
    if refusals[n] or refusal then
      answer(refusals[n] or refusal)
      heads[n] = false
    else
      meet(args[2 * n - 1])
      backlog = backlogs[n]
      events.speak_as(caller.packed_label)
      heads[n] = plan_one(args[2 * n], n == admitted)
    end
  end
  plan.write()
  begins[many + 1] = answered + 1
  for n = 1, many do
    if heads[n] then
      backlog = backlogs[n]
      answers[heads[n]] = plan.head()
    end
    local length = 0
    for at = begins[n], begins[n + 1] - 1 do
      length = length + #answers[at]
    end
    answers[begins[n]] = text_heads[length] .. answers[begins[n]]
  end
  return events.join(answers, begins[1], answered)
end
