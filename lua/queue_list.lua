#!lua flags=allow-oom
-- queue_list: a piece of the queues, in no order; one may come twice.
--
-- uses          open
-- keys
--   1 meta        hash    position, credentials
--   2 queues     hash    connection, queue -> packed queue
-- args
--   1 caller      see open
--   2 cursor      of HSCAN, "0" to begin
--   3 count       how many to look at, about
-- returns       OK, now_us, position, next cursor, then per queue its packed form
-- cost          O(count)
local scanned = redis.call('HSCAN', KEYS[2], ARGV[2], 'COUNT', ARGV[3])
local out = { 'OK', now_us, position, scanned[1] }
for i = 2, #scanned[2], 2 do
  out[#out + 1] = scanned[2][i]
end
return cmsgpack.pack(out)
