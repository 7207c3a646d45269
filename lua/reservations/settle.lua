-- settle: what was held by its plain name before that became a slot of a pool counts as that slot. So do slots of a pool that got something
-- below it: they are noted for the tree.
--
-- gives  settle, registry
-- The registry's own field of `definitions`, under the empty name, packed: free ranges of the bitmap (first bit, bits, in turn); where the
-- bitmap ends; pools whose slots are not known yet; where the search for them goes on. It is padded to more than 64 bytes: a hash or set that
-- holds something as long is a table or a skip list; short ones that are lists are slow to look in.
local LONG = 65
local SENTINEL = '\0' .. string.rep('x', LONG)
local SCAN_COUNT = '250'
registry = {}

-- Reads the registry's own field into `registry`.
function registry.read()
  local text = call('HGET', DEFINITIONS, '')
  spent = spent + 1
  if text then
    registry.ranges, registry.ends, registry.pools, registry.cursor = unpack_sequence(text)
  else
    registry.ranges, registry.ends, registry.pools, registry.cursor = {}, 0, {}, '0'
  end
  return registry
end

function registry.write()
  local text = pack(registry.ranges, registry.ends, registry.pools, registry.cursor)
  call('HSET', DEFINITIONS, '', text .. pack(string.rep(' ', max(1, LONG - #text))))
end

-- Gives the index a member that is long, and is no other's.
function registry.seed_index()
  call('ZADD', INDEX, '0', SENTINEL)
end

-- Makes a held name part of a pool.
local function adopt(record, name, index, packed)
  local holder = reservation.holder(packed)
  spent = spent + 4
  local pool, _, blockers, _, used = reservation.place(packed)
  if not pool then
    local _, _, deadline_ms, _, token = unpack_limit(packed, 4, 0)
    look(name, packed)
    local place = reservation.pack_place(record.name, tree.path(record, name), blockers, false, used)
    set_held(name, reservation.with_place(packed, token, deadline_ms, place))
    pools.take(record, index + 0)
    if token then
      set_held(record.name .. '\0\0' .. token, index)
      add_index('v' .. record.name .. '\0' .. sub(packed, 2, 9) .. index)
      if deadline_ms then
        add_index('p' .. record.name .. '\0' .. sub(packed, 11, 18) .. index)
      end
    end
  end
  if record.depth > 0 or record.near >= definitions.IS_PARENT_POOL then
    tree.index(add_index, record, holder, name)
  end
end

-- Goes on with what is held and does not know of its pool. Answers whether there is more.
function settle()
  registry.read()
  local wanted = {}
  for n = 1, #registry.pools do
    wanted[registry.pools[n]] = true
  end
  repeat
    local scanned = call('HSCAN', HELD, registry.cursor, 'COUNT', SCAN_COUNT)
    registry.cursor = scanned[1]
    local found = scanned[2]
    spent = spent + #found / 4
    for n = 1, #found, 2 do
      local name = found[n]
      local base, index = match(name, '^(%Z+)_(%d+)$')
      if base and wanted[base] then
        local record, slot, exists = resolve(name)
        if record and slot and exists then
          adopt(record, name, index, found[n + 1])
        end
      end
    end
  until registry.cursor == '0' or is_piece_done()
  if registry.cursor == '0' then
    registry.pools, unsettled = {}, 0
  end
  registry.write()
  pools.write()
  write_stage()
  is_unsaved = true
  events.publish()
  plan.start()
  return unsettled > 0
end
