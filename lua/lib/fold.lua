-- fold: where a job is, from all that was seen of it, in whatever order it was seen.
--
-- A job keeps its transitions, sorted by the time at which they happened; its state is what comes of going through them. So late
-- sightings end where punctual ones would. Each transition that counts has a mark: the attempt that it belongs to, times 16, and how far
-- into the attempt it leads. Marks only grow, and so does what is told of a job.
--
-- A transition is five numbers in a row: state, microseconds, tiebreak, attempt (0: not said, -1: the job begins again), mark (0: it
-- changes nothing). Beyond MOST_STEPS of them the oldest are put together into the base.
local UNKNOWN, RETRYING, CANCELLED, COMPLETED = 0, 4, 5, 7
local RANK = { [0] = 0, 1, 2, 3, 0, 4, 5, 6 }
local ACTIVE = 3
local STEP = 5
local MOST_STEPS, STEPS_PUT_TOGETHER = 40, 16

-- The mark that a job of this state and mark gets by going to `next`; nil: it stays where it is.
local function advance(state, mark, next, attempt)
  local round = math.floor(mark / 16)
  if next == RETRYING then
    -- A retry opens the next round. What is done is done.
    return state ~= RETRYING and state ~= COMPLETED and (round + 1) * 16 or nil
  elseif next == UNKNOWN and state then
    return nil
  elseif attempt == -1 then
    return state ~= next and (round + 1) * 16 + RANK[next] or nil
  elseif attempt > 0 and attempt < round then
    return nil
  end
  local there = math.max(round, attempt) * 16 + RANK[next]
  return (not state or there > mark) and there or nil
end

-- Goes through a job's transitions and marks them. Answers state, mark, previous state, when in µs it went into the state, and when in ms
-- its last attempt began, and whether a later attempt showed a retry whose own word has not come yet: that changes nothing when it does.
local function fold(base, steps)
  local state, mark, previous, since, started, owed = false, 16, false, false, false, false
  if base then
    state, mark, previous, since, started, owed = base[1], base[2], base[3], base[4], base[5], base[7]
  end
  for i = 1, #steps, STEP do
    local next = steps[i]
    local there = not (owed and next == RETRYING) and advance(state, mark, next, steps[i + 3]) or nil
    if next == RETRYING then
      owed = false
    elseif there and state and state ~= RETRYING and steps[i + 3] > 0 and there - mark >= 16 - mark % 16 then
      owed = true
    end
    steps[i + 4] = there or 0
    if there then
      previous, state, mark, since = state, next, there, steps[i + 1]
      if next == ACTIVE then
        started = math.floor(since / 1000)
      end
    end
  end
  return state, mark, previous, since, started, owed
end

-- Puts a transition in its place. Answers 'known' when the same was seen before (the same state within the same millisecond), 'last' when
-- it comes after all others, 'late' otherwise; then whether the transitions must be gone through again.
local function insert(base, steps, state, us, clock, attempt)
  if base and us <= base[6] then
    return 'late', false
  end
  local ms = math.floor(us / 1000)
  local at = #steps + 1
  while at > 1 do
    local i = at - STEP
    if math.floor(steps[i + 1] / 1000) < ms then
      break
    elseif math.floor(steps[i + 1] / 1000) == ms and steps[i] == state then
      -- The same, perhaps told with more.
      if attempt > 0 and attempt > steps[i + 3] and steps[i + 3] ~= -1 then
        steps[i + 3] = attempt
        return 'known', true
      end
      return 'known', false
    end
    at = i
  end
  -- Back to where it belongs among those of the same millisecond.
  while at <= #steps do
    local i = at
    local later = steps[i + 1] > us
    if steps[i + 1] == us then
      later = steps[i + 2] > clock or (steps[i + 2] == clock and RANK[steps[i]] > RANK[state])
    end
    if later then
      break
    end
    at = at + STEP
  end
  local last = at > #steps
  for i = #steps, at, -1 do
    steps[i + STEP] = steps[i]
  end
  steps[at], steps[at + 1], steps[at + 2], steps[at + 3], steps[at + 4] = state, us, clock, attempt, 0
  return last and 'last' or 'late', true
end

-- Puts the oldest transitions together where there are too many. What comes in later from before that is not told apart any more.
local function shorten(base, steps)
  if #steps <= MOST_STEPS * STEP then
    return base, steps
  end
  local old, rest = {}, {}
  for i = 1, #steps do
    if i <= STEPS_PUT_TOGETHER * STEP then
      old[i] = steps[i]
    else
      rest[#rest + 1] = steps[i]
    end
  end
  local limit_us = old[#old - STEP + 2]
  local state, mark, previous, since, started, owed = fold(base, old)
  return { state, mark, previous, since, started, limit_us, owed }, rest
end
