-- drafts: how definitions change: a call works on drafts of what it touches, and writes those that differ at its end.
--
-- gives  drafts
-- Members of `links`, all scores 0: c parent\0child, b blocked\0by, n pool\0name that looks like a slot of it.
-- A draft has what a record has, and `before`: the record, or false. What stands in the way of a change is answered as why and which name.
local LEVELS_MOST = 32
local LINKS_PAGE = 250
local TOO_MUCH = 'TOO_MUCH_WORK'
local NAMES_PER_STEP = 3 -- blocks and ancestors of a definition: each is looked for, linked, and written
local SLOTS_PER_STEP = 8 * 4096 -- 4 KiB of the bitmap: to copy them takes 2 to 3 us
local all, names, count = {}, {}, 0 -- name -> draft, or false: not registered
local link_now, links, link_count = {}, {}, 0
local resources_change, is_growing = 0, false
drafts = {}

function drafts.reset()
  all, names, count, link_now, links, link_count, resources_change, is_growing = {}, {}, 0, {}, {}, 0, 0, false
end

local function copy(list)
  return { unpack(list) }
end

local function same(a, b)
  if #a ~= #b then
    return false
  end
  for n = 1, #a do
    if a[n] ~= b[n] then
      return false
    end
  end
  return true
end

local function keep(name, draft)
  if all[name] == nil then
    count = count + 1
    names[count] = name
  end
  all[name] = draft
  return draft
end

-- The draft of a registered name, or false.
local function draft_of(name)
  local draft = all[name]
  if draft == nil then
    local record = record_of(name)
    draft = record and { name = name, before = record, capacity = record.capacity, first_bit = record.first_bit, extent = record.extent,
      children = record.children, blocks = record.blocks, ancestors = record.ancestors }
    keep(name, draft)
  end
  return draft
end

local function set_link(member, is_there)
  spent = spent + 1 / 2 + #member / budget.step_bytes
  if link_now[member] == nil then
    link_count = link_count + 1
    links[link_count] = member
  end
  link_now[member] = is_there
end

-- The members of `links` under a prefix, as the call sees them, at most `limit` of those that are written and all that are not yet.
local function links_under(prefix, limit)
  local found, from, offset = {}, #prefix + 2, 0
  repeat
    local page = call('ZRANGE', LINKS, '[' .. prefix .. '\0', '(' .. prefix .. '\1', 'BYLEX', 'LIMIT', digits(offset), digits(min(limit, LINKS_PAGE)))
    spent, offset = spent + 1 + #page, offset + #page
    for n = 1, #page do
      if link_now[page[n]] ~= false then
        found[#found + 1] = sub(page[n], from)
      end
    end
  until #page < LINKS_PAGE or #found >= limit or is_too_much()
  spent = spent + link_count / budget.turns
  for n = 1, link_count do
    local member = links[n]
    if link_now[member] and sub(member, 1, from - 1) == prefix .. '\0' and #found < limit then
      found[#found + 1] = sub(member, from)
    end
  end
  return found
end

-- Reads at once what is registered and held by names that are about to be defined.
function drafts.look_ahead(list, many)
  look_ahead(list, 1, many)
  local fields = {}
  for n = 1, many do
    fields[n] = list[n] .. '\0'
  end
  if many > 1 then
    look_at(fields, 1, many)
  end
end

local function first_link(prefix)
  return links_under(prefix, 1)[1]
end

local function parent_of(draft)
  return draft.ancestors[#draft.ancestors]
end

-- Notes whom a definition stands below, blocks, or looks like a slot of; or no longer.
local function link(draft, is_there)
  local parent = parent_of(draft)
  if parent then
    set_link('c' .. parent .. '\0' .. draft.name, is_there)
    local above = draft_of(parent)
    above.children = above.children + (is_there and 1 or -1)
  end
  for n = 1, #draft.blocks do
    set_link('b' .. draft.blocks[n] .. '\0' .. draft.name, is_there)
  end
  local base = definitions.as_slot(draft.name)
  if base then
    set_link('n' .. base .. '\0' .. draft.name, is_there)
  end
end

-- What is held of a name, as itself or as slots: the name, or nil.
local function held_of(name)
  return (look(name) or look(name .. '\0')) and name or nil
end

-- What is held at a place or below it, or nil.
local function held_below(name, is_registered)
  if held_of(name) then
    return name
  elseif not is_registered then
    return nil -- nothing stands below it
  end
  spent = spent + 1
  local member = call('ZRANGE', INDEX, '[t' .. name .. '\0', '(t' .. name .. '\1', 'BYLEX', 'LIMIT', '0', '1')[1]
  return member and match(member, '(%Z*)$')
end

-- Does something with every definition below a place, nearest first: `visit` is given the draft and its parent's, and answers why not, or nil.
local function walk_below(name, visit)
  local queue, at = { name }, 1
  while queue[at] do
    local parent = draft_of(queue[at])
    local children = links_under('c' .. queue[at], math.huge)
    for n = 1, #children do
      if is_too_much() then
        return TOO_MUCH
      end
      local child = draft_of(children[n])
      local why, which = visit(child, parent)
      if why then
        return why, which
      end
      if child.children > 0 then
        queue[#queue + 1] = child.name
      end
      spent = spent + 1
    end
    at = at + 1
  end
end

-- Gives everything below a place that has moved its new ancestors.
local function move_below(name)
  return walk_below(name, function(child, parent)
    local above = copy(parent.ancestors)
    above[#above + 1] = parent.name
    if #above >= LEVELS_MOST then
      return 'would have more than 32 levels', child.name
    end
    child.ancestors = above
  end)
end

local function touch()
end

-- Counts what it takes to make the bitmap larger: Redis copies all of it, once in a call.
local function count_growth(capacity)
  if not is_growing then
    is_growing, spent = true, spent + 1 + 8 * call('STRLEN', SLOTS) / SLOTS_PER_STEP
  end
  spent = spent + capacity / SLOTS_PER_STEP
end

-- Defines one name. Answers why it cannot be, and the name that is in the way; nil when it can.
local function register_one(name, capacity, blocks, ancestors)
  local draft = draft_of(name)
  spent = spent + 3 + (#blocks + #ancestors) / NAMES_PER_STEP
  if draft and draft.capacity == capacity and same(draft.blocks, blocks) and same(draft.ancestors, ancestors) then
    return
  end
  local base = definitions.as_slot(name)
  local pool = base and draft_of(base)
  if pool and pool.capacity > 1 then
    return 'looks like a slot of the pool', base
  end
  local slot_like = capacity > 1 and first_link('n' .. name)
  if slot_like then
    return 'cannot be a pool while this looks like one of its slots', slot_like
  end
  local moves = draft and not same(draft.ancestors, ancestors) or not draft and ancestors[1]
  local in_the_way = moves and held_below(name, draft)
  if in_the_way then
    return 'cannot get another place in the tree while this is held', in_the_way
  end
  local was_pool = draft and draft.capacity > 1 or false
  if was_pool ~= (capacity > 1) and held_of(name) then
    return 'cannot become a pool or cease to be one while it is held', name
  end
  resources_change = resources_change + capacity - (draft and draft.capacity or 0)
  if capacity > (draft and draft.capacity or 1) then
    count_growth(capacity)
  end
  if draft then
    link(draft, false)
  else
    draft = keep(name, { name = name, before = false, first_bit = 0, extent = 0, children = 0 })
  end
  draft.capacity, draft.blocks, draft.ancestors = capacity, blocks, ancestors
  link(draft, true)
  if draft.children > 0 and moves then
    return move_below(name)
  elseif draft.children > 0 and was_pool ~= (capacity > 1) then
    return walk_below(name, touch) -- what stands below a pool says so
  end
end

-- Defines a name and, on the way, its ancestors, which never overwrite.
function drafts.register(name, capacity, blocks, ancestors)
  local above = {}
  for n = 1, #ancestors do
    local ancestor = ancestors[n]
    local known = draft_of(ancestor)
    if known then
      -- Where its parent stands was looked at just before.
      if #known.ancestors ~= n - 1 or known.ancestors[n - 1] ~= above[n - 1] then
        return 'contradicts the place in the tree of', ancestor
      end
    else
      local why, which = register_one(ancestor, 1, {}, copy(above))
      if why then
        return why, which
      end
    end
    above[n] = ancestor
  end
  return register_one(name, capacity, blocks, ancestors)
end

-- Forgets a definition. Answers why not and which, or nil; NOT_FOUND.
function drafts.delete(name)
  local draft = draft_of(name)
  if not draft then
    return 'NOT_FOUND'
  end
  if held_of(name) then
    return 'is held', name
  end
  local child = first_link('c' .. name)
  if child then
    return 'has a child', child
  end
  local blocked_by = first_link('b' .. name)
  if blocked_by then
    return 'is blocked by', blocked_by
  end
  link(draft, false)
  draft.is_gone = true
  resources_change = resources_change - draft.capacity
end

-- How many resources are registered now, and how many more than before.
function drafts.total()
  return (tonumber(call('HGET', META, 'resources')) or 0) + resources_change, resources_change
end

-- Whether the place of a draft has to do with pools: see `definitions`.
local function near_of(draft)
  local near = 0
  for n = 1, #draft.ancestors do
    if draft_of(draft.ancestors[n]).capacity > 1 then
      near = definitions.NEAR_POOL
    end
  end
  spent = spent + #draft.ancestors / budget.turns
  -- It stays noted while slots are held that are in the index for it.
  local was = draft.before and draft.before.near >= definitions.IS_PARENT_POOL and look(draft.name .. '\0')
  return draft.capacity > 1 and (draft.children > 0 or was) and near + definitions.IS_PARENT_POOL or near
end

-- Writes what has changed of the definitions.
function drafts.write()
  local fields, field_count, gone, gone_count = {}, 0, {}, 0
  for n = 1, count do
    local draft = all[names[n]]
    if draft then
      bitmap.fit(draft)
      local near = not draft.is_gone and near_of(draft)
      local text = near and definitions.pack(draft.capacity, draft.first_bit, draft.extent, draft.children, near, draft.blocks, draft.ancestors)
      local before = draft.before
      if text and text ~= (before and before.text) then
        fields[field_count + 1], fields[field_count + 2] = draft.name, text
        field_count = field_count + 2
        local gets_slots = draft.capacity > 1 and draft.capacity > (before and before.capacity or 1)
        if gets_slots or near >= definitions.IS_PARENT_POOL and not (before and before.near >= definitions.IS_PARENT_POOL) then
          bitmap.unsettle(draft.name)
        end
      elseif not text and before then
        gone_count = gone_count + 1
        gone[gone_count] = draft.name
      end
    end
  end
  local members, gone_members = {}, {}
  for n = 1, link_count do
    local member = links[n]
    if link_now[member] then
      members[#members + 1], members[#members + 2] = '0', member
    else
      gone_members[#gone_members + 1] = member
    end
  end
  local writes = { { 'HSET', DEFINITIONS, fields }, { 'HDEL', DEFINITIONS, gone }, { 'ZREM', LINKS, gone_members }, { 'ZADD', LINKS, members } }
  for _, write in ipairs(writes) do
    if write[3][1] then
      stage.run_in_pieces(write[1], write[2], write[3], #write[3])
    end
  end
end
