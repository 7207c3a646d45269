-- moves: what follows from a time to live for items of a batch that move a deadline (`move`): made when another comes, for most of a batch have the
-- same.
local moved_ms, moved_to, moved_term, moved
