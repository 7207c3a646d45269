-- grants: what items of a batch that take something put together (`grant`, `taken`), and what follows from a time to live: made when
-- another comes, for most of a batch have the same.
local taken = 0
local ttl_ms, term, deadline
