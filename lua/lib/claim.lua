-- claim: item `i` of a batch proves what it holds: the `proof`, as it stands in the reservation behind the stamp.
if items[who_of + i] ~= '' then
  who, told = items[who_of + i], items[told_of + i]
end
local proof = '\176' .. items[tokens + i] .. who -- 176: a text of 16 bytes
