-- claim: item `i` of a batch proves what it holds: the `proof`, as it stands in the reservation behind the stamp.
local proof = '\176' .. items[tokens + i] .. known -- 176: a text of 16 bytes
