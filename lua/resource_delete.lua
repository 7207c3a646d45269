#!lua flags=allow-oom
-- resource_delete: forget a definition that nothing depends on.
--
-- uses          open, change, view, pools, plan, write, lapse, registry
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
--   11 links        zset    who stands below, blocks, or looks like a slot of whom
-- args
--   1 caller       see open
--   2 resource
-- returns       OK, now_us, position | NOT_FOUND, now_us, position | CONFLICT, now_us, position, why, name
-- cost          O(blocks + depth)
local name = ARGV[2]
local definition = definition_of(name)
if not definition then
  return cmsgpack.pack({ 'NOT_FOUND', now_us, position })
end
local why, which = dependent_on(definition)
if why then
  return cmsgpack.pack({ 'CONFLICT', now_us, position, why, which })
end
unlink_definition(definition)
redefine(name, false)
registered_change = registered_change - definition.capacity
write_registry()
return cmsgpack.pack({ 'OK', now_us, position })
