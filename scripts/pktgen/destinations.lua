-- The same load to more and more destinations: what the caches of the router's forwarding table are worth.
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

local SIZE = 64

carpool.run(function()
    carpool.print("%6s %14s %14s %14s %10s", "to", "sent/s", "arrived/s", "lost", "lost %")
    for _, destinations in ipairs { 1, 256, 4096, 65536, 1000000 } do
        carpool.traffic(SIZE, destinations, carpool.flows)
        carpool.row(tostring(destinations), carpool.trial(SIZE, carpool.full(SIZE), carpool.seconds))
    end
end)
