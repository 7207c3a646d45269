-- lapse: ends what has lapsed before a script decides, whatever goes with it: slots, blockers, places in the tree.

-- Ends what has lapsed, before the script decides anything. Answers true when there may be more.
local function end_lapsed()
  if not due or due > now_ms then
    return false
  end
  local names = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', digits(now_ms), 'LIMIT', 0, LAPSED_AT_ONCE)
  local events = {}
  if #names > 0 then
    find_all(names)
    for i, name in ipairs(names) do
      events[i] = held[name]
      give_up(name, {})
    end
    write()
  end
  refresh_due()
  for i, name in ipairs(names) do
    local lost = events[i]
    for _, kind in ipairs({ 'RESERVATION_EXPIRED', 'UNRESERVED' }) do
      tell(next_position(), kind, 'EXPIRED', false, false, name, lost[REQUESTER], lost[KIND], lost[MADE_BY], lost[FENCE], lost[DEADLINE], lost[POOL],
        lost[BLOCKERS])
    end
  end
  commit()
  forget()
  return #names == LAPSED_AT_ONCE
end

if end_lapsed() then
  return cmsgpack.pack('AGAIN', now_us, position)
end
