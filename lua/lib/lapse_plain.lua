-- lapse_plain: ends what has lapsed before a script decides, for tenants that never registered anything: every reservation stands alone.

-- Ends what has lapsed, before the script decides anything. Answers true when there may be more.
local function end_lapsed()
  if not due or due > now_ms then
    return false
  end
  local names = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now_ms, 'LIMIT', 0, LAPSED_AT_ONCE)
  if #names > 0 then
    local records = redis.call('HMGET', HELD, unpack(names))
    drop(names, due)
    for i, name in ipairs(names) do
      local requester, _, fence, deadline, _, kind, label = cmsgpack.unpack(records[i])
      tell(next_position(), 'RESERVATION_EXPIRED', 'EXPIRED', false, false, name, requester, kind, label, fence, deadline, false, false)
      tell(next_position(), 'UNRESERVED', 'EXPIRED', false, false, name, requester, kind, label, fence, deadline, false, false)
    end
  else
    refresh_due()
  end
  commit()
  told = {}
  moved_due = false
  return #names == LAPSED_AT_ONCE
end

if end_lapsed() then
  return cmsgpack.pack({ 'AGAIN', now_us, position })
end
