#!lua
-- publish: events of the platform's own, in the tenant's one order with everything else.
--
-- uses          open, change
-- keys
--   1 meta      hash    position, earliest deadline, credentials
--   2 held      hash    resource -> packed reservation
--   3 deadlines zset    resource -> deadline, ms since epoch
--   4 history   stream  what subscribers are told
--   5 due       zset    tenant -> its earliest deadline (the partition's)
--   6 companies hash    slug -> packed company
--   7 company_ids hash  company's id -> its slug
--   8 dedupe    zset    dedupe id -> the position that it got, for an hour
-- args
--   1 caller    see open
--   2.. sextets of type, company id or empty, company slug or empty, data (JSON on one line), timestamp in ms or 0, dedupe id or
--       empty
-- returns       OK, now_us, position, then the position of each event
--               | UNKNOWN_COMPANY, now_us, position, then per event: true when its slug is not registered
-- cost          O(events * log dedupe ids)
-- invariants    one unregistered slug and nothing is published; a dedupe id that was seen within the hour publishes nothing
local COMPANIES, COMPANY_IDS, DEDUPE = KEYS[6], KEYS[7], KEYS[8]
local DEDUPE_US = 3600 * 1000000
local FORGOTTEN_AT_ONCE = 2000
local out = { 'OK', now_us, position }
local unknown = { 'UNKNOWN_COMPANY', now_us, position }
local refused = false
local ids = {} -- slug -> company id, or false
local events, remembered, fresh = {}, {}, {}

for i = 2, #ARGV, 6 do
  local kind, id, slug, dedupe = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 5]
  local bad = false
  if slug ~= '' then
    if ids[slug] == nil then
      local company = redis.call('HGET', COMPANIES, slug)
      ids[slug] = company and cmsgpack.unpack(company) or false
    end
    id, bad = ids[slug], not ids[slug]
    refused = refused or bad
  elseif id ~= '' then
    slug = redis.call('HGET', COMPANY_IDS, id)
  else
    id, slug = false, false
  end
  unknown[#unknown + 1] = bad
  local at
  if dedupe ~= '' then
    at = fresh[dedupe] or redis.call('ZSCORE', DEDUPE, dedupe)
    at = tonumber(at)
    if at and at <= now_us - DEDUPE_US then
      at = nil
    end
  end
  if not at then
    at = next_position()
    local stamp = tonumber(ARGV[i + 4])
    events[#events + 1] = { at, kind, id, slug, ARGV[i + 3], stamp ~= 0 and stamp or now_ms }
    if dedupe ~= '' then
      fresh[dedupe] = at
      remembered[#remembered + 1] = at
      remembered[#remembered + 1] = dedupe
    end
  end
  out[#out + 1] = at
end
if refused then
  return cmsgpack.pack(unknown)
end

if #remembered > 0 then
  local old = redis.call('ZRANGEBYSCORE', DEDUPE, '-inf', digits(now_us - DEDUPE_US), 'LIMIT', 0, FORGOTTEN_AT_ONCE)
  if #old > 0 then
    redis.call('ZREM', DEDUPE, unpack(old))
  end
  for i = 1, #remembered, 2 do
    redis.call('ZADD', DEDUPE, digits(remembered[i]), remembered[i + 1])
  end
  redis.call('PEXPIRE', DEDUPE, digits(DEDUPE_US / 1000))
end
for _, event in ipairs(events) do
  local at = event[1]
  local packed = cmsgpack.pack('P', TENANT, last, at, now_ms, unpack(event, 2))
  redis.call('XADD', HISTORY, 'MAXLEN', '~', HISTORY_LENGTH, digits(at), 'e', packed)
  last = at
  told[#told + 1] = packed
end
if #events > 0 then
  commit()
end
out[3] = position
return cmsgpack.pack(out)
