-- stream_slots: the event streams that count, over all replicas that are alive.
--
-- gives  stream_slots
-- A slot names its replica, and the slots of a replica without a heartbeat count no more: there is no counter that could drift.
stream_slots = {}

-- How many streams there are of the kind that `session` says (of cookies, or, where it is empty, of keys and tokens), how many of that one
-- session, and the fields of replicas that have died. `replica` is alive whatever its heartbeat says.
function stream_slots.count(streams, replicas, replica, session)
  local alive = { [replica] = true }
  local of_kind, of_session, dead = 0, 0, {}
  local found = call('HGETALL', streams)
  for n = 1, #found, 2 do
    local owner = match(found[n], '^[^/]*')
    if alive[owner] == nil then
      alive[owner] = (tonumber(call('ZSCORE', replicas, owner)) or 0) > now_ms
    end
    if not alive[owner] then
      dead[#dead + 1] = found[n]
    elseif (found[n + 1] == '') == (session == '') then
      of_kind = of_kind + 1
      of_session = of_session + (found[n + 1] == session and 1 or 0)
    end
  end
  return of_kind, of_session, dead
end
