"""What must happen in Redis all at once, as Lua; the keys are those of `pipelines.stores.redis_keys`.

A script that may be refused answers with an array whose first member is a word: `done`, or why not.
"""

# Whether an attempt is the newest at its run, and neither committed nor dropped.
_MAY_WRITE = """
local function may_write(run_id, attempt)
    if redis.call('HGET', 'm:attempts', attempt) ~= run_id then return {'absent'} end
    local newest = redis.call('HGET', 'm:newest', run_id)
    if newest ~= attempt then return {'overtaken', newest} end
    if redis.call('HEXISTS', 'm:manifests', attempt) == 1 then return {'committed'} end
    return {'done'}
end
"""

# ARGV: run. Answers with the new attempt's number.
OPEN = """
local attempt = redis.call('INCR', 'm:epoch')
redis.call('HSET', 'm:attempts', attempt, ARGV[1])
redis.call('HSET', 'm:newest', ARGV[1], attempt)
return attempt
"""

# ARGV: run, attempt, when it was opened. An attempt opened elsewhere keeps its number; none that we open is smaller.
ADOPT = """
local run_id, attempt = ARGV[1], ARGV[2]
if tonumber(redis.call('GET', 'm:epoch') or '0') < tonumber(attempt) then redis.call('SET', 'm:epoch', attempt) end
redis.call('HSET', 'm:attempts', attempt, run_id)
if tonumber(redis.call('HGET', 'm:newest', run_id) or '0') < tonumber(attempt) then
    redis.call('HSET', 'm:newest', run_id, attempt)
end
redis.call('ZADD', 'm:written', 'GT', ARGV[3], attempt)
"""

# ARGV: run, attempt, now. Before and between the lists of a part.
BEGIN = (
    _MAY_WRITE
    + """
local said = may_write(ARGV[1], ARGV[2])
if said[1] == 'done' then redis.call('ZADD', 'm:written', 'GT', ARGV[3], ARGV[2]) end
return said
"""
)

# ARGV: run, attempt, part, name of the writing, seconds of expiry. After the last list of a part.
FINISH = (
    _MAY_WRITE
    + """
local said = may_write(ARGV[1], ARGV[2])
if said[1] == 'done' then
    redis.call('HSET', 'm:parts:' .. ARGV[2], ARGV[3], ARGV[4])
    redis.call('EXPIRE', 'm:parts:' .. ARGV[2], ARGV[5])
end
return said
"""
)

# ARGV: run, attempt, trending list.
PUT_TRENDING = (
    _MAY_WRITE
    + """
local said = may_write(ARGV[1], ARGV[2])
if said[1] == 'done' then redis.call('SET', 'm:t:' .. ARGV[2], ARGV[3]) end
return said
"""
)

# ARGV: run, attempt, manifest.
COMMIT = (
    _MAY_WRITE
    + """
local run_id, attempt, manifest = ARGV[1], ARGV[2], ARGV[3]
local same = redis.call('HGET', 'm:manifests', attempt) == manifest
if same and redis.call('HGET', 'm:attempts', attempt) == run_id then return {'done'} end
local said = may_write(run_id, attempt)
if said[1] ~= 'done' then return said end
if redis.call('EXISTS', 'm:t:' .. attempt) == 0 then return {'no trending'} end
redis.call('HSET', 'm:manifests', attempt, manifest)
return said
"""
)

# ARGV: surface, run, attempt, now as in JSON, whether older is allowed ('1'). Answers with the pointer before or after.
GO_LIVE = """
local surface, run_id, attempt, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local data, move = redis.call('HGET', 'm:pointers', surface), 0
local before = data and cjson.decode(data)
if before then
    if before.run_id == run_id and before.attempt == tonumber(attempt) then return {'done', data} end
    move = before.move
end
if redis.call('HGET', 'm:attempts', attempt) ~= run_id or redis.call('HEXISTS', 'm:manifests', attempt) == 0 then
    return {'no manifest'}
end
if ARGV[5] ~= '1' then
    if redis.call('HGET', 'm:newest', run_id) ~= attempt then return {'overtaken'} end
    if before and string.sub(run_id, 1, 8) < string.sub(before.run_id, 1, 8) then return {'older day', data} end
    if before and tonumber(attempt) < before.attempt then return {'older', data} end
end
data = string.format('{"run_id":"%s","attempt":%s,"move":%d,"moved_at":"%s"}', run_id, attempt, move + 1, now)
redis.call('HSET', 'm:pointers', surface, data)
return {'done', data}
"""

# ARGV: surface, pointer, its move. Answers whether it was copied: never back to a smaller move. Lists of that attempt
# may come from now on.
COPY_POINTER = """
local data = redis.call('HGET', 'm:pointers', ARGV[1])
if data and cjson.decode(data).move >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', 'm:pointers', ARGV[1], ARGV[2])
local attempt = string.format('%.0f', cjson.decode(ARGV[2]).attempt)
redis.call('ZADD', 'm:written', 'GT', redis.call('TIME')[1], attempt)
return 1
"""

# ARGV: surface, user. Answers with the pointer, the user's list or false, the trending list or false.
LIVE_LIST = """
local data = redis.call('HGET', 'm:pointers', ARGV[1])
if not data then return false end
local attempt = string.format('%.0f', cjson.decode(data).attempt)
local list = redis.call('EXISTS', 'm:f:' .. ARGV[2]) == 0 and redis.call('GET', 'm:l:' .. attempt .. ':' .. ARGV[2])
return {data, list, redis.call('GET', 'm:t:' .. attempt)}
"""

# ARGV: attempt, user. Answers with the list, the state and whether the user was forgotten (1). The list of who was
# forgotten or has opted out is not read. The words looked for are how `UserState` is encoded; no text can hold them.
READ_USER = """
local stated, is_forgotten = redis.call('GET', 'm:s:' .. ARGV[2]), redis.call('EXISTS', 'm:f:' .. ARGV[2])
local function says(what) return stated and string.find(stated, what, 1, true) end
if is_forgotten == 1 or says('"is_opted_out":true')
    or (says('"account_opts_out":true') and not says('"is_opted_out":false')) then
    return {false, stated, is_forgotten}
end
return {redis.call('GET', 'm:l:' .. ARGV[1] .. ':' .. ARGV[2]), stated, is_forgotten}
"""

# ARGV: user, state, version before. A retry of what was written is as good as the first time.
PUT_STATE = """
if redis.call('EXISTS', 'm:f:' .. ARGV[1]) == 1 then return {'forgotten'} end
local key = 'm:s:' .. ARGV[1]
local data = redis.call('GET', key)
if data == ARGV[2] then return {'done'} end
if (data and cjson.decode(data)[2] or 0) ~= tonumber(ARGV[3]) then return {'changed'} end
redis.call('SET', key, ARGV[2])
return {'done'}
"""

# ARGV: user, state, version, seconds of expiry. Never back to a smaller version, and never behind an erasure.
COPY_STATE = """
local key = 'm:s:' .. ARGV[1]
local data = redis.call('GET', key)
if redis.call('EXISTS', 'm:f:' .. ARGV[1]) == 1 then return 0 end
if data and cjson.decode(data)[2] > tonumber(ARGV[3]) then return 0 end
redis.call('SET', key, ARGV[2], 'EX', ARGV[4])
return 1
"""

# ARGV: user, the state of the forgotten. The mark comes first; answers with the attempts that may have a list.
FORGET = """
redis.call('SET', 'm:f:' .. ARGV[1], '')
if redis.call('SADD', 'm:forgotten', ARGV[1]) == 1 then
    local key = 'm:s:' .. ARGV[1]
    local data = redis.call('GET', key)
    redis.call('SET', key, string.format('[%s,%d]', ARGV[2], (data and cjson.decode(data)[2] or 0) + 1))
end
return redis.call('ZRANGE', 'm:written', 0, -1)
"""

# ARGV: attempt, user, list or nothing, state, its version, seconds of expiry. Nothing of whoever was forgotten
# meanwhile; and never a state that is older than the one that is there. An erasure must know of the attempt.
KEEP_USER = """
if redis.call('EXISTS', 'm:f:' .. ARGV[2]) == 1 then return 0 end
if ARGV[3] ~= '' then
    redis.call('ZADD', 'm:written', 'GT', redis.call('TIME')[1], ARGV[1])
    redis.call('SET', 'm:l:' .. ARGV[1] .. ':' .. ARGV[2], ARGV[3], 'EX', ARGV[6])
end
local key = 'm:s:' .. ARGV[2]
local data = redis.call('GET', key)
if not data or cjson.decode(data)[2] <= tonumber(ARGV[5]) then redis.call('SET', key, ARGV[4], 'EX', ARGV[6]) end
return 1
"""
