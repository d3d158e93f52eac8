-- What the other scripts here share: the traffic, as range mode of Pktgen-DPDK makes it, and a trial, after which the
-- counters of both ports are read. For Pktgen 23.03; docs/loadtest.md says how to get it.
--
-- Parameters come from the environment:
--   CARPOOL_ROUTER_MAC   Ethernet address of the router's port that packets go in by (needed)
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

local function number(name, default)
    local text = os.getenv(name)
    if text == nil or text == "" then
        return default
    end
    return assert(tonumber(text), name .. '="' .. text .. '": a number was expected')
end

carpool.send = tostring(math.floor(number("CARPOOL_SEND_PORT", 0)))
carpool.receive = tostring(math.floor(number("CARPOOL_RECEIVE_PORT", 1)))
carpool.destinations = math.floor(number("CARPOOL_DESTINATIONS", 256))
carpool.flows = math.floor(number("CARPOOL_FLOWS", 64))
carpool.seconds = number("CARPOOL_SECONDS", 2)

local function to_number(address)
    local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    assert(a, '"' .. address .. '" is no IPv4 address')
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function to_address(value)
    value = math.floor(value)
    return string.format("%d.%d.%d.%d", value >> 24 & 255, value >> 16 & 255, value >> 8 & 255, value & 255)
end

function carpool.router_mac()
    local mac = os.getenv("CARPOOL_ROUTER_MAC")
    assert(mac and mac:match("^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$"),
        'CARPOOL_ROUTER_MAC: the Ethernet address of the router\'s port was expected, such as "02:00:00:00:00:01"')
    return mac
end

-- UDP of this frame length (FCS included) to so many destinations from so many source ports.
function carpool.traffic(size, destinations, flows)
    local send = carpool.send
    local first = to_number(os.getenv("CARPOOL_FIRST") or (destinations > RFC_2544 and "10.0.0.0" or "198.18.0.0"))
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
    range.dst_mac(send, "start", carpool.router_mac())
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
