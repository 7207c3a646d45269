-- kind_told: `told_kind` becomes what an event says of itself (`SAID`), with the resource type, which stands in `present` after `behind` bytes, and
-- what the replica sent (`told`). It is made when any of that is another, for most of a batch have the same; `kind` is the packed type that
-- it was made for.
if string.find(present, kind, behind + 1, true) ~= behind + 1 then
  local _, resource_type = cmsgpack.unpack_limit(present, 1, behind)
  kind = pack(resource_type)
  told_kind = SAID .. kind .. told
end
