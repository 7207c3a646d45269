-- look_many: what is held under the names of a batch's items: one look for all, which costs an item a fraction of one of its own.
local found = {}
for i = 2, #ARGV do
  local _, _, resource = cmsgpack.unpack_limit(ARGV[i], 2, 0)
  found[i - 1] = resource
end
found = call('HMGET', HELD, unpack(found))
