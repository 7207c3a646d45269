-- frees: what items of a batch that give something back (`free`) put together for `free_many`.
local freed, freed_count, any_dated = {}, 0, false
local undated = put('>BBI8', 194, 207, now_ms) -- packed: no deadline, and now
