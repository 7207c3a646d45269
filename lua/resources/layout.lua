-- layout: how a change of the registry ends.
--
-- gives  write_registry, definition_row
-- From its first definition on a tenant's calls name the keys of what is registered; its version moves, so that every replica looks.
local RECORD_BYTES, NO_LISTS = 17, '\144\144'

function write_registry(total)
  bitmap.open()
  drafts.write()
  bitmap.close()
  registry.write()
  registry.seed_index()
  call('HSET', META, 'resources', digits(total))
  if call('HSETNX', META, 'defined', '1') == 1 then
    move_version()
  end
end

-- A definition as it is answered: name, capacity, blocks, ancestors.
function definition_row(name, text)
  local rest = sub(text, RECORD_BYTES + 1)
  return text_head(name) .. name .. pack((take_apart('<I4', text))) .. (rest == '' and NO_LISTS or rest)
end
