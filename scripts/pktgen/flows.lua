-- The same load in more and more flows (UDP source ports): how receive queues and workers share it.
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

local SIZE = 64

carpool.run(function()
    carpool.print("%6s %14s %14s %14s %10s", "flows", "sent/s", "arrived/s", "lost", "lost %")
    for _, flows in ipairs { 1, 8, 64, 1024, 32768 } do
        carpool.traffic(SIZE, carpool.destinations, flows)
        carpool.row(tostring(flows), carpool.trial(SIZE, carpool.full(SIZE), carpool.seconds))
    end
end)
