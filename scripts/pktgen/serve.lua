-- For carpool-loadtest: one trial a line on standard input, one answer a line on standard output, behind a mark, as Pktgen
-- writes there as well.
--   trial pps=1000000 seconds=2 size=64 flows=64 destinations=256 [burst=1000]
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

local function answer(text)
    carpool.print("\n@carpool %s", text)
end

local current = ""

local function run(line)
    local want = {}
    for key, value in line:gmatch("(%w+)=([%d.]+)") do
        want[key] = tonumber(value)
    end
    for _, key in ipairs { "pps", "seconds", "size", "flows", "destinations" } do
        assert(want[key], key .. " is missing")
    end
    local traffic = string.format("%d %d %d", want.size, want.destinations, want.flows)
    if traffic ~= current then
        carpool.traffic(math.floor(want.size), math.floor(want.destinations), math.floor(want.flows))
        current = traffic
    end
    local result
    if want.burst then
        result = carpool.burst(want.size, want.burst)
    else
        result = carpool.trial(want.size, want.pps, want.seconds)
    end
    answer(string.format('{"sent":%d,"received":%d,"lost":%d,"missed":%d,"offered_pps":%.1f,"seconds":%.3f}',
        result.sent, result.received, result.lost, result.missed, result.offered_pps, result.seconds))
end

pktgen.screen("off")
answer('{"ready":"' .. pktgen.info.Pktgen_Version .. '"}')
for line in io.lines() do
    local done, problem = pcall(run, line)
    if not done then
        answer('{"error":"' .. tostring(problem):gsub('[%c"\\]', " ") .. '"}')
    end
end
pktgen.quit()
