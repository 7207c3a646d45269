-- lapse: what has lapsed is ended before anything is decided, a bounded number at a time.
--
-- gives  end_lapsed
local EXPIRED, UNRESERVED = '\179RESERVATION_EXPIRED\167EXPIRED\194\194', '\170UNRESERVED\167EXPIRED\194\194'
local AT_ONCE = '256'

-- Ends what has lapsed. Answers whether there may be more.
function end_lapsed()
  local names = call('ZRANGEBYSCORE', DEADLINES, '-inf', digits(now_ms), 'LIMIT', '0', AT_ONCE)
  local count = #names
  local ended = 0
  events.by = FALSE -- nobody ended it
  if count > 0 then
    look_at(names, 1, count)
  end
  repeat
    ended = ended + 1
    local name = names[ended]
    if not name then
      break
    end
    local packed = look(name)
    give_up(name, packed)
    spent = spent + 2
    local fence, term_then, tail = sub(packed, 1, 9), sub(packed, 10, 18) .. put('>BI8', UINT64, now_ms), sub(packed, 45)
    next_position()
    emit(EXPIRED, fence, term_then, tail, name)
    next_position()
    emit(UNRESERVED, fence, term_then, tail, name)
  until is_piece_done()
  local is_pending = false
  if ticket_count > 0 then
    if not is_piece_done() then
      end_tickets()
    end
    is_pending = hand_over()
  end
  if DEFINITIONS then
    pools.write()
  end
  write_stage()
  local first = call('ZRANGE', DEADLINES, '0', '0', 'WITHSCORES')
  due, is_unsaved = tonumber(first[2]) or false, true
  if ticket_count > 0 then
    local ends = call('ZRANGE', TICKET_ENDS, '0', '0', 'WITHSCORES')
    due = is_pending and now_ms or min(due or math.huge, tonumber(ends[2]) or math.huge)
    due = due < math.huge and due
  end
  if due then
    call('ZADD', DUE, digits(due), caller.tenant)
  else
    call('ZREM', DUE, caller.tenant)
  end
  events.publish()
  plan.start()
  return due and due <= now_ms
end
