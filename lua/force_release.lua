#!lua flags=allow-oom
-- force_release: end reservations whoever holds them, and say why: a resource, every slot of a pool, a blocker with its users.
--
-- uses          open, limit, change, view, pools, plan, write, lapse, answers
-- keys
--   1 meta         hash    position, earliest deadline, credentials
--   2 held         hash    resource -> packed reservation
--   3 deadlines    zset    resource -> deadline, ms since epoch
--   4 history      stream  what subscribers are told
--   5 due          zset    tenant -> its earliest deadline (the partition's)
--   6 definitions  hash    resource -> packed definition
--   7 pools        hash    pool -> packed counts; who holds which slot
--   8 slots        zset    free ranges, deadlines and fences of pools
--   9 uses         zset    who holds a blocker
--   10 tree         zset    what is held below an ancestor
-- args
--   1 caller       see open
--   2 resource
--   3 reason       the sentence that subscribers are shown, or empty
-- returns       OK, now_us, position, then the released names | TOO_MANY, now_us, position
-- cost          O(released * (depth + blocks) * log held)
local resource, reason = ARGV[2], ARGV[3] ~= '' and ARGV[3]
local released, events = {}, {}

local function finish(name)
  local reservation = find(name)
  if reservation and reservation[TOKEN] then
    give_up(name, released)
    events[#events + 1] = { next_position(), 'UNRESERVED', 'FORCE_RELEASED', reason, false, name, reservation[REQUESTER], reservation[KIND], LABEL,
      reservation[FENCE], false, reservation[POOL], reservation[BLOCKERS] }
  end
end

-- What holds a thing: itself, and whatever it was taken along with.
local function finish_all(name)
  finish(name)
  for _, member in ipairs(index_all(USES, name)) do
    finish(string.sub(member, #name + 19))
  end
end

local definition, index = resolve(resource)
if definition and definition.capacity > 1 and not index then
  for _, member in ipairs(index_all(TREE, 's' .. resource)) do
    finish_all(string.match(member, '(%Z*)$'))
  end
end
finish_all(resource)

local refusal = refusal_of_call()
if refusal then
  return refusal
end
if #events > 0 then
  write()
  tell_all(events)
end
local out = { 'OK', now_us, position }
for _, name in ipairs(released) do
  out[#out + 1] = name
end
return cmsgpack.pack(out)
