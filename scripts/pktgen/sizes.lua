-- Frame after frame length of RFC 2544 as fast as the link and the router take them: what was sent, what arrived.
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

carpool.run(function()
    carpool.print("%6s %14s %14s %14s %10s", "size", "sent/s", "arrived/s", "lost", "lost %")
    for _, size in ipairs { 64, 128, 256, 512, 1024, 1280, 1518 } do
        carpool.traffic(size, carpool.destinations, carpool.flows)
        carpool.row(tostring(size), carpool.trial(size, carpool.full(size), carpool.seconds))
    end
end)
