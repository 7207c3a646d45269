#!lua flags=allow-oom
-- list: a piece of the active reservations, in no order.
--
-- uses          open, look
-- keys
--   1 meta         hash    position, credentials
--   2 held         hash    resource -> packed reservation
--   3 definitions  hash    resource -> packed definition
--   4 pools        hash    pool -> packed counts; who holds which slot
--   5 slots        zset    free ranges, deadlines and fences of pools
--   6 uses         zset    who holds a blocker
--   7 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
--   2 cursor       of HSCAN, "0" to begin
--   3 count        how many to look at, about
-- returns       OK, now_us, position, next cursor, then per reservation: name, packed reservation, when it ends as a whole or false,
--               what it blocks for or false; what has lapsed is left out
-- cost          O(count + uses)
local scanned = redis.call('HSCAN', HELD, ARGV[2], 'COUNT', ARGV[3])
local out = { 'OK', now_us, position, scanned[1] }
for i = 1, #scanned[2], 2 do
  local name = scanned[2][i]
  local reservation = live(name, scanned[2][i + 1])
  if reservation then
    local users = false
    if reservation[USED] > 0 then
      local from, to = under(name)
      for _, member in ipairs(redis.call('ZRANGE', USES, from, to, 'BYLEX')) do
        if tonumber(string.sub(member, #name + 2, #name + 17)) > now_ms then
          users = users or {}
          users[#users + 1] = string.sub(member, #name + 19)
        end
      end
    end
    local n = #out
    out[n + 1], out[n + 2], out[n + 3], out[n + 4] = name, scanned[2][i + 1], free_at(name, reservation), users
  end
end
return cmsgpack.pack(out)
