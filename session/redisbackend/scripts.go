package redisbackend

import "github.com/redis/go-redis/v9"

// Each script touches one key, so that it runs on a Cluster, and does all or nothing. Versions, nonces and entries are compared as strings of bytes;
// only times become numbers, which are exact up to maxMillis.

const luaMillis = `
local function millis(s, at)
	local n = 0
	for i = at, at + 7 do n = n * 256 + string.byte(s, i) end
	return n
end
`

// KEYS[1] an item's key, ARGV[1] the value, ARGV[2] the version to replace, ARGV[3] the caller's time, ARGV[4] how long to keep it, in ms.
// 0: it is there, 1: another version is, 2: what is there is foreign.
var putScript = redis.NewScript(luaMillis + `
local head = redis.call('GETRANGE', KEYS[1], 0, 24)
local version = string.rep('\0', 8)
if head ~= '' then
	local form = string.byte(head, 1)
	if #head < 25 or (form ~= 1 and form ~= 2) then return 2 end
	if string.sub(head, 18, 25) == string.sub(ARGV[1], 18, 25) then return 0 end
	if millis(head, 10) > tonumber(ARGV[3]) then version = string.sub(head, 2, 9) end
end
if version ~= ARGV[2] then return 1 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return 0
`)

// KEYS[1] an item's key, ARGV[1] the version to remove. 0: that is not there, 2: what is there is foreign.
var deleteScript = redis.NewScript(`
local head = redis.call('GETRANGE', KEYS[1], 0, 24)
if head == '' then return 0 end
local form = string.byte(head, 1)
if #head < 25 or (form ~= 1 and form ~= 2) then return 2 end
if string.sub(head, 2, 9) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
`)

// KEYS[1] an owner's index, ARGV[1] the item's key, ARGV[2] its entry, ARGV[3] the time before which what has ended may go, ARGV[4] how long to keep the index, in ms.
//
// Of two Puts the later end stays in the entry: which of them wins is not known yet. Each call also looks at a few other entries, at random, and drops those that have
// ended: so an index that nobody lists stays in proportion to what is alive.
var indexScript = redis.NewScript(luaMillis + `
local entry = ARGV[2]
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and #old == 16 and millis(old, 1) > millis(entry, 1) then
	entry = string.sub(old, 1, 8) .. string.sub(entry, 9, 16)
end
redis.call('HSET', KEYS[1], ARGV[1], entry)
local some = redis.call('HRANDFIELD', KEYS[1], 4, 'WITHVALUES')
for i = 1, #some, 2 do
	if #some[i + 1] ~= 16 or millis(some[i + 1], 1) < tonumber(ARGV[3]) then
		redis.call('HDEL', KEYS[1], some[i])
	end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 0
`)

// KEYS[1] an owner's index, ARGV pairs of an item's key and its entry: those that still are so are dropped.
var dropScript = redis.NewScript(`
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
		redis.call('HDEL', KEYS[1], ARGV[i])
	end
end
return 0
`)
