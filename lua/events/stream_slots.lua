-- stream_slots: the event streams that count, over all replicas that are alive.
--
-- gives  stream_slots
-- A slot names its replica, and the slots of a replica without a heartbeat count no more: there is no counter that could drift.
-- A tenant without a limit may have very many; these are not looked through with each that is opened.
local COUNTED_MOST = 2000
local LOOKED_AT = '100'
stream_slots = {}

-- How many streams there are of the kind that `session` says (of cookies, or, where it is empty, of keys and tokens), how many of that one
-- session, and the fields of replicas that have died. `replica` is alive whatever its heartbeat says. Of more than 2,000 only some are looked at,
-- at random: then all count as of the kind, and none as of the session.
function stream_slots.count(streams, replicas, replica, session)
  local alive = { [replica] = true }
  local of_kind, of_session, dead = 0, 0, {}
  local all = call('HLEN', streams)
  local found = all > COUNTED_MOST and call('HRANDFIELD', streams, LOOKED_AT, 'WITHVALUES') or call('HGETALL', streams)
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
  if all > COUNTED_MOST then
    return all - #dead, 0, dead
  end
  return of_kind, of_session, dead
end
