-- What the other scripts here share: the traffic, as range mode of Pktgen-DPDK makes it, and a trial, after which the
-- counters of both ports are read. For Pktgen 23.03; docs/loadtest.md says how to get it.
--
-- Parameters come from the environment:
--   CARPOOL_ROUTER_MAC   Ethernet address of the router's port that packets go in by (needed, but by pooled.lua)
--   CARPOOL_SEND_PORT    Pktgen's port there (0)
--   CARPOOL_RECEIVE_PORT Pktgen's port where they come out (1)
--   CARPOOL_FIRST        the first destination (198.18.0.0, of the networks of RFC 2544; 10.0.0.0 where they are too small)
--   CARPOOL_DESTINATIONS how many, one after the other (256)
--   CARPOOL_FLOWS        how many UDP source ports (64)
--   CARPOOL_SECONDS      how long a trial lasts (2)

local carpool = {}

-- Preamble, inter-frame gap: an Ethernet frame takes so many bytes more on the wire (its length has the FCS).
local GAP = 20
-- As many addresses as the networks of RFC 2544 have.
local RFC_2544 = 131072
-- Pktgen counts into the numbers that scripts see once a second, and what is on the way takes a moment.
carpool.SETTLE_MS = 1200

-- Ends Pktgen with a sentence and an exit code: 1 for what failed, 2 for wrong usage. By itself it would go on drawing its
-- screen when a script has failed.
local function give_up(code, sentence)
    -- The terminal is Pktgen's until it ends in its own way.
    os.execute("test ! -t 0 || stty sane")
    io.stderr:write("\n", sentence, "\n")
    os.exit(code)
end

local function refuse(name, text, expected)
    give_up(2, name .. '="' .. text .. '": expected ' .. expected)
end

-- A parameter that is a number within bounds.
function carpool.number(name, default, least, most)
    local text = os.getenv(name)
    if text == nil or text == "" then
        return default
    end
    local value = tonumber(text)
    -- What is no number (nan) is not within any bounds.
    if not value or not (value >= least and value <= most) then
        refuse(name, text, string.format("a number from %s to %s", least, most))
    end
    return value
end

-- A parameter that is a whole number within bounds.
function carpool.whole(name, default, least, most)
    local value = carpool.number(name, default, least, most)
    return math.tointeger(value) or refuse(name, os.getenv(name), "a whole number")
end

-- A parameter that is a list of whole numbers within bounds, with spaces between.
function carpool.list(name, default, least, most)
    local text = os.getenv(name)
    if text == nil or text == "" then
        text = default
    end
    local list = {}
    for word in text:gmatch("%S+") do
        local value = math.tointeger(tonumber(word))
        if not value or value < least or value > most then
            refuse(name, text, string.format("whole numbers from %d to %d, with spaces between", least, most))
        end
        list[#list + 1] = value
    end
    return list
end

-- Runs a script, and ends Pktgen behind it.
function carpool.run(script)
    pktgen.screen("off")
    local done, problem = pcall(script)
    if not done then
        give_up(1, tostring(problem))
    end
    pktgen.quit()
end

carpool.send = tostring(carpool.whole("CARPOOL_SEND_PORT", 0, 0, 63))
carpool.receive = tostring(carpool.whole("CARPOOL_RECEIVE_PORT", 1, 0, 63))
carpool.destinations = carpool.whole("CARPOOL_DESTINATIONS", 256, 1, 16777216)
carpool.flows = carpool.whole("CARPOOL_FLOWS", 64, 1, 32768)
carpool.seconds = carpool.number("CARPOOL_SECONDS", 2, 0.1, 3600)

local function parts(address)
    local found = { address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
    for index = 1, 4 do
        found[index] = math.tointeger(tonumber(found[index]))
        if not found[index] or found[index] > 255 then
            return nil
        end
    end
    return found
end

local function to_number(address)
    local value = 0
    for _, part in ipairs(parts(address)) do
        value = value * 256 + part
    end
    return value
end

local FIRST = os.getenv("CARPOOL_FIRST")
if FIRST and not parts(FIRST) then
    refuse("CARPOOL_FIRST", FIRST, "an IPv4 address")
end

local function to_address(value)
    value = math.floor(value)
    return string.format("%d.%d.%d.%d", value >> 24 & 255, value >> 16 & 255, value >> 8 & 255, value & 255)
end

local function router_mac()
    local mac = os.getenv("CARPOOL_ROUTER_MAC") or ""
    if not mac:match("^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$") then
        refuse("CARPOOL_ROUTER_MAC", mac, 'the Ethernet address of the router\'s port, such as "02:00:00:00:00:01"')
    end
    return mac
end

-- UDP of this frame length (FCS included) to so many destinations from so many source ports.
function carpool.traffic(size, destinations, flows)
    local send = carpool.send
    local first = to_number(FIRST or (destinations > RFC_2544 and "10.0.0.0" or "198.18.0.0"))
    local range = pktgen.range
    local function steps(set, start, inc, min, max)
        set(send, "start", start)
        set(send, "inc", inc)
        set(send, "min", min)
        set(send, "max", max)
    end
    pktgen.set_type(send, "ipv4")
    -- Range mode sends TCP unless it is told otherwise.
    range.ip_proto(send, "udp")
    range.dst_mac(send, "start", router_mac())
    steps(range.src_ip, "192.0.2.2", "0.0.0.0", "192.0.2.2", "192.0.2.2")
    steps(range.dst_ip, to_address(first), destinations > 1 and "0.0.0.1" or "0.0.0.0", to_address(first),
        to_address(first + destinations - 1))
    steps(range.src_port, 20000, flows > 1 and 1 or 0, 20000, 20000 + flows - 1)
    steps(range.dst_port, 30000, 0, 30000, 30000)
    steps(range.pkt_size, size, 0, size, size)
    steps(range.ttl, 64, 0, 64, 64)
    pktgen.set(send, "size", size)
    pktgen.set_range(send, "on")
end

-- So many packets a second; returns what Pktgen makes of it: it paces in parts of the speed of the link.
function carpool.rate(size, pps)
    local send = tonumber(carpool.send)
    pktgen.set(carpool.send, "rate", "100")
    local full = carpool.full(size)
    pktgen.set(carpool.send, "rate", string.format("%.6f", math.min(100, math.max(0.0001, 100 * pps / full))))
    return math.min(full, pktgen.portInfo(carpool.send)[send].info.tx_debug.tx_pps)
end

-- Packets a second that the link carries at most, as far as Pktgen knows its speed.
function carpool.full(size)
    local info = pktgen.linkState(carpool.send)[tonumber(carpool.send)]
    local mbps = tonumber(tostring(info):match("%d+")) or 10000
    return mbps * 1e6 / 8 / (size + GAP)
end

-- What the ports have counted so far.
function carpool.counters()
    local all = pktgen.portStats("all", "port")
    local sender, receiver = all[tonumber(carpool.send)], all[tonumber(carpool.receive)]
    return { sent = sender.opackets, received = receiver.ipackets, missed = receiver.imissed + receiver.rx_nombuf }
end

-- Seconds since the machine started, in hundredths.
local function uptime()
    local file = assert(io.open("/proc/uptime"))
    local seconds = file:read("n")
    file:close()
    return seconds
end

-- Sends so many packets, waits for the last and returns what the ports counted.
function carpool.send_count(count, limit_seconds)
    pktgen.delay(carpool.SETTLE_MS)
    local before = carpool.counters()
    local waited
    pktgen.set(carpool.send, "count", count)
    pktgen.start(carpool.send)
    local begin = uptime()
    repeat
        pktgen.delay(5)
        -- What the clock and this loop are behind is not to count as slowness.
        waited = math.max(0.001, uptime() - begin - 0.02)
    until pktgen.isSending(carpool.send)[tonumber(carpool.send)] ~= "y" or waited > limit_seconds
    pktgen.stop(carpool.send)
    pktgen.delay(carpool.SETTLE_MS)
    local after = carpool.counters()
    local function grown(name) return math.floor(after[name] - before[name]) end
    return { asked = count, sent = grown("sent"), received = grown("received"), missed = grown("missed"), seconds = waited }
end

-- A trial at a rate.
function carpool.trial(size, pps, seconds)
    local offered = carpool.rate(size, pps)
    local result = carpool.send_count(math.max(1, math.floor(offered * seconds)), 3 * seconds + 5)
    result.offered_pps = offered
    result.lost = math.max(0, result.sent - result.received)
    return result
end

-- So many packets as fast as the link takes them.
function carpool.burst(size, count)
    local offered = carpool.rate(size, carpool.full(size))
    local result = carpool.send_count(math.floor(count), 3 * count / offered + 5)
    result.offered_pps = offered
    result.lost = math.max(0, result.sent - result.received)
    return result
end

function carpool.print(...)
    io.write(string.format(...), "\n")
    io.flush()
end

-- A line of a table about a trial.
function carpool.row(name, result)
    carpool.print("%6s %14.0f %14.0f %14d %10.4f", name, result.sent / result.seconds, result.received / result.seconds,
        result.lost, 100 * result.lost / math.max(1, result.sent))
end

return carpool
