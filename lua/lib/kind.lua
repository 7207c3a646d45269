-- kind: `kind` becomes the resource type of `present`, packed, which stands there after `behind` bytes.
if find(present, kind, behind + 1, true) ~= behind + 1 then
  local _, resource_type = unpack_limit(present, 1, behind)
  kind, differs = pack(resource_type), differs or 'told'
end
