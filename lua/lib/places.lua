-- places: the event streams that count, over all replicas that are alive.
--
-- keys          2 streams  3 replicas
local STREAMS, REPLICAS = KEYS[2], KEYS[3]

-- How many streams there are of the kind that `session` says (of cookies, or, where it is empty, of keys and tokens), how many of that one
-- session, and the fields of replicas that have died. `replica` is alive whatever its beat says.
local function count_places(replica, session)
  local alive = { [replica] = true }
  local of_kind, of_session, dead = 0, 0, {}
  local found = redis.call('HGETALL', STREAMS)
  for i = 1, #found, 2 do
    local owner = string.match(found[i], '^[^/]*')
    if alive[owner] == nil then
      alive[owner] = (tonumber(redis.call('ZSCORE', REPLICAS, owner)) or 0) > now_ms
    end
    if not alive[owner] then
      dead[#dead + 1] = found[i]
    elseif (found[i + 1] == '') == (session == '') then
      of_kind = of_kind + 1
      of_session = of_session + (found[i + 1] == session and 1 or 0)
    end
  end
  return of_kind, of_session, dead
end
