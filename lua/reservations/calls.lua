-- calls: what is asked together is done together: one wrong token, or more than may be held, and nothing of it is done.
--
-- gives  calls
-- A plan answers nil, or why the call is refused: BAD_TOKEN, LIMIT, TTL, TOO_MUCH_WORK.

calls = {}

-- Each plan begins so.
function calls.start()
  plan.held_before, items.wrong_count, items.is_ttl_refused = held_count, 0, false
end

-- Whether more is held now than may be, and more than before.
function calls.is_over_limit()
  return caller.held_limit > 0 and held_count > caller.held_limit and held_count > plan.held_before
end

-- One item of a call, given as what `take`, `release` and `prolong` are given.
function calls.one(request, name, token, known, ttl_ms)
  calls.start()
  local status
  if request == 'RESERVE' then
    status = take(name, token, known, ttl_ms)
    return (status == 'TTL' or status == 'TOO_MUCH_WORK') and status or calls.is_over_limit() and 'LIMIT'
  elseif request == 'UNRESERVE' then
    status = release(name, token, known)
  else
    status = prolong(name, token, known, ttl_ms)
  end
  if status == 'INVALID_RELEASE_TOKEN' then
    items.set_one(name, known)
    return 'BAD_TOKEN'
  end
  return status == 'TTL' and status
end

function calls.reserve(packed, at, count, quantities, waits)
  calls.start()
  items.read(packed, at, count, 0)
  local why = items.take(1, count, items.quantities(quantities), items.waits(waits))
  return why or items.is_ttl_refused and 'TTL' or calls.is_over_limit() and 'LIMIT'
end

function calls.unreserve(packed, at, count)
  calls.start()
  items.read(packed, at, count, count)
  return items.release(1, count) or items.wrong_count > 0 and 'BAD_TOKEN'
end

function calls.renew(packed, at, count)
  calls.start()
  items.read(packed, at, count, 0)
  return items.renew(1, count) or items.wrong_count > 0 and 'BAD_TOKEN' or items.is_ttl_refused and 'TTL'
end

-- Items that are each done by themselves: first what is given back, then what is taken, then what is prolonged. An item is answered in place
-- whatever becomes of it; false: nothing was done, for the call would take too long, or nobody more may wait, and it is to be asked by itself.
function calls.each(packed, at, releases, takes, renewals, quantities, waits)
  local count = releases + takes + renewals
  calls.start()
  items.read(packed, at, count, releases)
  room.set(caller.held_limit > 0 and caller.held_limit or math.huge)
  local why, left = items.release(1, releases)
  if not why then
    why, left = items.take(releases + 1, releases + takes, items.quantities(quantities), items.waits(waits))
  end
  if not why then
    why, left = items.renew(releases + takes + 1, count)
  end
  for _ = left or count + 1, count do
    answer(FALSE)
  end
  room.set(math.huge)
end

-- The answer to a call that is refused, once nothing of it is left; `count`: of how many items wrong tokens are answered.
function calls.refusal(why, count, request)
  if why == 'BAD_TOKEN' then
    local is_wrong = {}
    for n = 1, count do
      is_wrong[n] = FALSE
    end
    local of, _, who_of, said
    if request == 'UNRESERVE' then
      of, _, who_of = items.columns(count)
      said = events.refusal('UNRESERVE_FAILED', 'INVALID_RELEASE_TOKEN', false, request)
    end
    for n = 1, items.wrong_count do
      local item = items.wrong[n]
      is_wrong[item] = TRUE
      if of then
        events.refuse(said, reservation.requester(of[who_of + item]), false, of[item + 1])
      end
    end
    return outcome('BAD_TOKEN') .. concat(is_wrong)
  elseif why == 'LIMIT' then
    local first = call('ZRANGE', DEADLINES, '0', '0', 'WITHSCORES')
    publish_limit('ConcurrentReservations', caller.held_limit)
    return outcome('LIMIT', 'ConcurrentReservations', caller.held_limit, held_count, tonumber(first[2]) or false)
  elseif why == 'WAITING_LIMIT' then
    return over_limit('WaitingTickets', caller.waiting_limit, waiting_count, false)
  elseif why == 'TTL' then
    return outcome('TTL', caller.greatest_ttl_ms)
  end
  return outcome(why == 'TOO_MUCH_WORK' and plan.too_much() or why)
end

-- Ends a call that is refused, or finishes it where `why` is nil.
function calls.finish(why, count, request)
  if not why then
    return plan.finish()
  end
  events.drop()
  held_count, position, waiting_count, ticket_count = plan.held_before, plan.position_before, plan.waiting_before, plan.tickets_before
  local text = calls.refusal(why, count, request)
  events.publish()
  return text
end
