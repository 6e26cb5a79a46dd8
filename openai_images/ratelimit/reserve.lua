-- One step of the limits that several clients share: what the caller reports, then a place for its next request.
--
-- KEYS[1] is the hash with all state of one name. ARGV[1] is JSON: `told` (limits from settings), `reports`, and perhaps
-- `images`, the size of the request that wants a place. The answer is JSON; its times are seconds from now, by the
-- server's clock, so that the callers' clocks do not matter. Places are given in order: none is before an earlier one.
-- Buckets are those of token_bucket.py, the estimate is that of estimator.py.

local BURST, SPACING, CAREFUL, SPREAD = 4, 0.01, 100, 0.4 -- of requests while no limit is known: estimator.py
local SLACK, MEMORY, DOUBLINGS_PER_REQUEST, MAX_DOUBLINGS = 0.25, 420, 1.5, 60
local LONGEST, LONGEST_REQUESTS = 45, 30
local CHECKED, MAX_PENDING = 0.1, 200 -- seconds: a place that was waited for longer is checked (shared.py)
local KEPT = 3600 -- seconds without use after which everything is forgotten

local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local answer = {}

-- State: numbers and buckets ("rate capacity level at"), all by name.

local numbers, buckets, estimate, pending = {}, {}, nil, {}
local stored = redis.call('HGETALL', KEYS[1])
for i = 1, #stored, 2 do
  local name, text = stored[i], stored[i + 1]
  local rate, capacity, level, at = string.match(text, '^(%S+) (%S+) (%S+) (%S+)$')
  if name == 'estimate' then
    estimate = text
  elseif name == 'pending' then -- places that will be used without a check
    for place, images, serial in string.gmatch(text, '(%S+) (%S+) (%S+)') do
      table.insert(pending, {at = tonumber(place), images = tonumber(images), serial = tonumber(serial)})
    end
  elseif at then
    buckets[name] = {
      rate = tonumber(rate), capacity = tonumber(capacity), level = tonumber(level), at = tonumber(at)
    }
  else
    numbers[name] = tonumber(text)
  end
end

local function number(name) return numbers[name] or 0 end
local function add(name, amount) numbers[name] = number(name) + amount end

-- The server's clock may be set back, or another server with another clock may take over: then time goes on from here.
now = now + number('offset')
if now < number('seen') then
  add('offset', number('seen') - now)
  now = number('seen')
end
numbers.seen = now

local function level(bucket, at)
  local passed = at - bucket.at
  return math.min(bucket.capacity, passed > 0 and bucket.level + bucket.rate * passed or bucket.level)
end

local function take(bucket, amount, at)
  bucket.level = math.min(bucket.capacity, level(bucket, at) - amount)
  bucket.at = math.max(bucket.at, at)
end

local function delay(bucket, amount, at)
  local missing = math.min(amount, bucket.capacity) - level(bucket, at)
  return missing <= 0.000001 and 0 or missing / bucket.rate
end

-- Of "told images": "told", and charge.images.
local function source(name) return string.match(name, '^%S+') end
local function charged(name, charge) return charge[string.match(name, '%S+$')] end

-- The estimate of a limit that nobody states. A rejection ends a period.

local function start_period(at, burst)
  add('period', 1)
  numbers.started, numbers.grown, numbers.first = at, at, nil
  numbers.sent, numbers.requests, numbers.delayed = 0, 0, 0
  buckets['spacing requests'] = {rate = 1 / SPACING, capacity = burst, level = burst, at = at}
end

local function forget(at)
  buckets['estimated images'], estimate, numbers.late = nil, nil, nil
  start_period(at, BURST)
end

local function grow(bucket, images, at)
  if level(bucket, at) - images < math.min(1, bucket.capacity / 2) and at > number('grown') then
    add('delayed', at - number('grown'))
    local again = number('delayed') / math.max(LONGEST, LONGEST_REQUESTS * images / number('estimated_rate'))
    local doublings = number('delayed') / number('estimated_doubling') + math.min(again, MAX_DOUBLINGS) ^ 3
    doublings = math.min(doublings, DOUBLINGS_PER_REQUEST * number('requests'), MAX_DOUBLINGS)
    take(bucket, 0, at)
    bucket.rate = number('estimated_rate') * 2 ^ doublings
  end
  numbers.grown = math.max(number('grown'), at)
end

-- Reports.

local report = {}

function report.usage(facts) -- `difference`: tokens taken, less what was charged for them
  numbers.tokens_per_image = facts.per_image
  for name, bucket in pairs(buckets) do
    if string.match(name, ' tokens$') then
      take(bucket, facts.difference, now)
    end
  end
end

function report.advertised(facts) -- `kind`, `limit`, `remaining`, `rate`, and `held` by the bucket after the request
  local name = 'advertised ' .. facts.kind
  local bucket = buckets[name]
  if not bucket then
    buckets[name] = {rate = facts.rate, capacity = facts.limit, level = facts.remaining, at = now}
    return
  end
  -- Only less than was expected at both times shows use by somebody who does not share the limit here.
  local expected = math.min(facts.held or facts.limit, level(bucket, now))
  take(bucket, math.max(0, expected - facts.remaining), now)
  bucket.rate, bucket.capacity = facts.rate, facts.limit
end

local function drop_pending(serial)
  for i, place in ipairs(pending) do
    if place.serial == serial then
      table.remove(pending, i)
      return true
    end
  end
end

function report.unused(facts) -- a place that nobody takes: it was not sent, and perhaps can be given again
  local images = facts.charge.images
  local was_pending = drop_pending(facts.serial)
  if facts.period == number('period') - 1 then
    add('late', -images)
    if was_pending and numbers.stale then
      add('stale', -images)
    elseif was_pending and buckets['estimated images'] then
      take(buckets['estimated images'], -images, now)
    end
  elseif facts.period == number('period') then
    add('sent', -images)
    if facts.serial == numbers.serial then -- else a later place would be too early
      for name, bucket in pairs(buckets) do
        take(bucket, -charged(name, facts.charge), now)
      end
      add('requests', -1)
      add('serial', 1) -- once
    end
  end
end

function report.rejected(facts) -- `seconds`, `explained` by an advertised limit, and its place
  numbers.pause = math.max(number('pause'), now + facts.seconds)
  for name, bucket in pairs(buckets) do
    -- What is advertised explains it: then the bucket held less than it seemed to, and nothing is returned.
    if source(name) == 'advertised' and not facts.explained then
      take(bucket, -charged(name, facts.charge), now)
    end
  end
  local period = number('period')
  if facts.explained or facts.period < period - 1 or facts.period > period then
    return
  end
  local images = facts.charge.images
  if facts.period == period - 1 then -- sent before the pause, and counted as accepted
    add('late', -images)
    return
  end
  local bucket = buckets['estimated images']
  answer.learn = {
    report = facts.index,
    period = period + 1,
    accepted = number('late') + facts.before,
    pace = bucket and bucket.rate or 0,
    estimate = estimate,
    since = number('since') - now,
    first = (numbers.first or now) - now,
  }
  numbers.late = number('sent') - facts.before - images
  -- Places that were given and not used yet are void, as their holders see; but those that are used unchecked.
  numbers.last, numbers.stale = nil, 0
  for _, place in ipairs(pending) do
    if place.at > now then
      numbers.last, numbers.stale = place.at, numbers.stale + place.images
    end
  end
  start_period(math.max(now, numbers.pause), 1)
end

function report.learnt(facts) -- what estimator.py makes of a rejection
  if facts.period == numbers.period then
    local at = math.max(now, number('pause'))
    local level = facts.level - number('stale')
    buckets['estimated images'] = {rate = facts.rate, capacity = facts.capacity, level = level, at = at}
    numbers.estimated_rate, numbers.estimated_doubling = facts.rate, facts.doubling
    numbers.since, numbers.started, numbers.grown, numbers.stale = now + facts.since, at, at, nil
    estimate = facts.estimate
  end
end

-- A place.

local function reserve(images)
  local start = math.max(now, number('pause'), number('last'))
  if estimate and number('requests') > 0 and start - number('started') > MEMORY then
    forget(start)
  end
  local charge = {images = images, requests = 1, tokens = number('tokens_per_image') * images}
  local longest, told, reason = 0, 0, nil
  for name, bucket in pairs(buckets) do
    local seconds = delay(bucket, charged(name, charge), start)
    if seconds > longest then
      longest, reason = seconds, name
    end
    if source(name) == 'told' then
      told = math.max(told, seconds)
    end
  end
  local at, held = start + longest, {}
  local estimated, requests = buckets['estimated images'], number('requests')
  if estimated then
    grow(estimated, images, at)
    if requests == 0 then
      take(estimated, SLACK, at)
    end
  end
  for name, bucket in pairs(buckets) do
    take(bucket, charged(name, charge), at)
    if source(name) == 'advertised' then
      held[string.match(name, '%S+$')] = bucket.level
    end
  end
  buckets['spacing requests'].rate = math.max(1 / SPACING, (requests + 1 - CAREFUL) / SPREAD)
  answer.place = {
    delay = at - now,
    told = start - now + told,
    reason = reason,
    rate = reason and buckets[reason].rate,
    serial = number('serial') + 1,
    period = number('period'),
    before = number('sent'),
    charge = charge,
    held = held,
  }
  numbers.last, numbers.first = at, numbers.first or at
  if at > now and at - now <= CHECKED then -- used without a check
    table.insert(pending, {at = at, images = images, serial = number('serial') + 1})
  end
  add('serial', 1)
  add('sent', images)
  add('requests', 1)
end

if not numbers.period then
  numbers.period, numbers.serial = math.floor(now), math.floor(now) -- never those of a state that was lost
  forget(now)
end
for _, limit in ipairs(ask.told) do
  local name = 'told ' .. limit.kind
  local bucket = buckets[name]
  if not bucket then
    buckets[name] = {rate = limit.rate, capacity = limit.capacity, level = limit.capacity, at = now}
  elseif bucket.rate ~= limit.rate or bucket.capacity ~= limit.capacity then
    answer.replaced = {kind = limit.kind, rate = bucket.rate}
    take(bucket, 0, now)
    bucket.rate, bucket.capacity = limit.rate, limit.capacity
  end
end
for _, facts in ipairs(ask.reports) do
  report[facts.what](facts)
end
if ask.images then
  reserve(ask.images)
end
answer.pause, answer.period = math.max(0, number('pause') - now), numbers.period

local fields = {}
for name, bucket in pairs(buckets) do
  table.insert(fields, name)
  table.insert(fields, string.format('%.17g %.17g %.17g %.6f', bucket.rate, bucket.capacity, bucket.level, bucket.at))
end
for name, value in pairs(numbers) do
  table.insert(fields, name)
  table.insert(fields, string.format('%.17g', value))
end
if estimate then
  table.insert(fields, 'estimate')
  table.insert(fields, estimate)
end
local texts = {}
for _, place in ipairs(pending) do
  if place.at > now and #texts < MAX_PENDING then
    table.insert(texts, string.format('%.6f %.17g %.17g', place.at, place.images, place.serial))
  end
end
table.insert(fields, 'pending')
table.insert(fields, table.concat(texts, ' '))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], math.ceil((math.max(now, number('pause'), number('last')) - now + KEPT) * 1000))
return cjson.encode(answer)
