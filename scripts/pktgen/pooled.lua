-- Pooled packets from a capture file, over and over, to a router that takes them apart. The file is given to Pktgen itself
-- (-s 0:FILE); its frames are to have the router's Ethernet address (docs/loadtest.md says how to make one).
--   CARPOOL_PERCENT  of the speed of the link (100)
-- What comes out has no fixed number: compare it with rows received in "carpool pool show".
package.path = debug.getinfo(1, "S").source:match("^@?(.-)[^/]*$") .. "?.lua;" .. package.path
local carpool = require "carpool"

local percent = string.format("%.6f", carpool.number("CARPOOL_PERCENT", 100, 0.0001, 100))

carpool.run(function()
    pktgen.set(carpool.send, "rate", percent)
    local before = carpool.counters()
    pktgen.set(carpool.send, "count", 0)
    pktgen.start(carpool.send)
    pktgen.delay(math.floor(carpool.seconds * 1000))
    pktgen.stop(carpool.send)
    pktgen.delay(carpool.SETTLE_MS)
    local after = carpool.counters()
    local sent, received = after.sent - before.sent, after.received - before.received
    carpool.print("%d pooled packets sent, %d packets came out: %.2f each", sent, received, received / math.max(1, sent))
end)
