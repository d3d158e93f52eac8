-- The highest rate that loses no more than a part of its packets (RFC 2544, 26.1), by bisection, for each frame length.
--   CARPOOL_LOSS        the part that may be lost, in percent (0: the no-drop rate; 0.5: the partial drop rate)
--   CARPOOL_RESOLUTION  the search ends when what passes and what fails are so many percent apart (1)
--   CARPOOL_SIZES       frame lengths ("64 128 256 512 1024 1280 1518")
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

local loss = carpool.number("CARPOOL_LOSS", 0, 0, 100) / 100
local resolution = carpool.number("CARPOOL_RESOLUTION", 1, 0.01, 50) / 100
local sizes = carpool.list("CARPOOL_SIZES", "64 128 256 512 1024 1280 1518", 64, 1518)
-- A load that the port did not take in time was not offered.
local OFFERED = 0.95

local function passes(size, pps)
    local result = carpool.trial(size, pps, carpool.seconds)
    local offered = result.sent / result.seconds >= OFFERED * result.offered_pps
    carpool.print("# %d B at %.0f/s: sent %d, lost %d%s", size, result.offered_pps, result.sent, result.lost,
        offered and "" or ", slower than asked for")
    return offered and result.lost <= loss * result.sent
end

local function search(size)
    local high = carpool.full(size)
    if passes(size, high) then
        return high
    end
    local low = 0
    -- Nothing below a thousandth of the link is searched for.
    while high - low > math.max(resolution * low, high / 1000) do
        local middle = (low + high) / 2
        if passes(size, middle) then
            low = middle
        else
            high = middle
        end
    end
    return low
end

carpool.run(function()
    for _, size in ipairs(sizes) do
        carpool.traffic(size, carpool.destinations, carpool.flows)
        carpool.print("%d B: %.0f packets/s with at most %g%% lost", size, search(size), loss * 100)
    end
end)
