-- open: what every script does first: read the clock once, prove the caller, learn the tenant's position.
--
-- keys          1 meta
-- args          1 caller: a MessagePack sequence, made once per credential by the replica:
--                 tenant, credential (a field of meta, or false for the sweep), version, channel, publish command,
--                 history length, api key label or false, end user (the token's `sub`) or false, held limit (0: none),
--                 whether names need registration
--               2 floor: the highest position of this tenant that the replica has seen
-- leaves        now_us, now_ms, last, due, position and the caller's parts to the script
-- returns       {STALE} when the credential is gone or the tenant changed since the replica looked: it looks again
local TENANT, CREDENTIAL, VERSION, CHANNEL, PUBLISH, HISTORY_LENGTH, LABEL, END_USER, HELD_LIMIT, REQUIRE_REGISTRATION = cmsgpack.unpack(ARGV[1])
local META = KEYS[1]

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now_ms = math.floor(now_us / 1000)

local meta = redis.call('HMGET', META, 'position', 'due', 'upkeep', 'version', CREDENTIAL or 'version')
if not meta[5] or (CREDENTIAL and meta[4] ~= VERSION) then
  return cmsgpack.pack({ 'STALE', now_us })
end
local last = tonumber(meta[1]) -- the position of the last kept event
local due = tonumber(meta[2]) -- the tenant's earliest deadline, or nil
local position = math.max(last, tonumber(ARGV[2])) -- above `last` only where Redis lost writes that a replica has seen

-- Whole numbers beyond 2^31 need the format: tostring() would write 1.79e+15.
local function digits(number)
  return string.format('%d', number)
end
