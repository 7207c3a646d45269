#!lua flags=allow-oom
-- verify_fence: is this fencing token the one of the resource's present holder? Of a pool: of one of its slots'?
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
--   2 resource
--   3 fencing token
-- returns       OK, now_us, position, the present fencing token or false; of a pool the given one where it is a slot's, else the latest
-- cost          O(log held slots)
local name = ARGV[2]
local reservation = find(name)
local fence = reservation and reservation[TOKEN] and reservation[FENCE] or false
local definition, index = resolve(name)

if not reservation and definition and definition.capacity > 1 and not index then
  local prefix = 'v' .. name
  local given = prefix .. '\0' .. string.format('%016d', ARGV[3])
  local exact = redis.call('ZRANGE', SLOTS, '[' .. given .. '\0', '(' .. given .. '\1', 'BYLEX', 'LIMIT', 0, 1)
  local from, to = under(prefix)
  local offset, page = 0, exact
  repeat
    for _, member in ipairs(page) do
      local granted, slot = string.match(member, '(%d+)%z(%d+)$')
      if not fence and find(name .. '_' .. slot) then
        fence = tonumber(granted)
      end
    end
    page = redis.call('ZRANGE', SLOTS, to, from, 'BYLEX', 'REV', 'LIMIT', offset, 64)
    offset = offset + 64
  until fence or #page == 0
end
return cmsgpack.pack({ 'OK', now_us, position, fence })
