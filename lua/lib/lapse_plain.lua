-- lapse_plain: ends what has lapsed before a script decides, for tenants that never registered anything: every reservation stands alone.
if due and due <= now_ms then
  -- here: caller
  -- here: change
  local names = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', digits(now_ms), 'LIMIT', 0, LAPSED_AT_ONCE)
  if #names > 0 then
    local records = redis.call('HMGET', HELD, unpack(names))
    drop(names, true)
    for i, name in ipairs(names) do
      local fence, deadline, _, _, requester, kind, label = cmsgpack.unpack(records[i])
      tell(next_position(), 'RESERVATION_EXPIRED', 'EXPIRED', false, false, name, requester, kind, label, fence, deadline, false, false)
      tell(next_position(), 'UNRESERVED', 'EXPIRED', false, false, name, requester, kind, label, fence, deadline, false, false)
    end
  end
  refresh_due()
  commit()
  if #names == LAPSED_AT_ONCE then
    return cmsgpack.pack(backlog, 'AGAIN', now_us, position)
  end
end
