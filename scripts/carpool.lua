-- Wireshark dissector for carpool's native wire format, version 1 (docs/wire-format.md).
-- Wireshark:  copy it to the personal Lua plugins folder (Help, About, Folders)
-- tshark:     tshark -X lua_script:scripts/carpool.lua -r FILE

local carpool = Proto("carpool", "carpool pooled packets")

local kinds = {
    [0] = "pooled packet, index in band",
    [1] = "pooled packet, index out of band",
    [2] = "indexes",
    [3] = "pooled packet, predetermined",
    [4] = "hello",
    [5] = "pooled packet, short rows",
    [6] = "report",
}
local types = { [4] = "whole IPv4 packet", [41] = "whole IPv6 packet", [128] = "packet of a provisioned stream" }
local items = { [1] = "unknown contexts" }
-- What each bit of the capabilities says, from the lowest.
local capabilities = {
    { "ipv4", "Kind 0 with whole IPv4 packets" },
    { "ipv6", "Kind 0 with whole IPv6 packets" },
    { "out_of_band", "Index out of band, kinds 1 and 2" },
    { "predetermined", "Predetermined, kind 3" },
    { "provisioned", "Provisioned streams, type 128" },
    { "learned", "Learned headers, kinds 5 and 6" },
    { "transit", "Opens packets in transit" },
}

local f = carpool.fields
f.version = ProtoField.uint8("carpool.version", "Version", base.DEC, nil, 0xf0)
f.authenticated = ProtoField.bool("carpool.authenticated", "Authentication trailer", 8, nil, 0x08)
f.kind = ProtoField.uint8("carpool.kind", "Kind", base.DEC, kinds, 0x07)
f.count = ProtoField.uint8("carpool.count", "Count")
f.outer_ttl = ProtoField.uint8("carpool.outer_ttl", "Outer TTL")
f.template = ProtoField.uint8("carpool.template", "Template")
f.overlay = ProtoField.bool("carpool.overlay", "Between overlay nodes", 8, nil, 0x01)
f.sequence = ProtoField.uint32("carpool.sequence", "Sequence number")
f.row = ProtoField.none("carpool.row", "Row")
f.start = ProtoField.uint16("carpool.row.start", "Start")
f.length = ProtoField.uint16("carpool.row.length", "Length")
f.ttl = ProtoField.uint8("carpool.row.ttl", "TTL")
f.type = ProtoField.uint8("carpool.row.type", "Type", base.DEC, types)
f.block = ProtoField.none("carpool.block", "Index")
f.of = ProtoField.uint32("carpool.block.sequence", "Sequence number of the pooled packet")
f.rows = ProtoField.uint8("carpool.block.rows", "Rows")
f.router_id = ProtoField.ipv4("carpool.hello.router_id", "Router id")
f.instance = ProtoField.uint32("carpool.hello.instance", "Instance", base.HEX)
f.heard = ProtoField.uint32("carpool.hello.heard_instance", "Heard instance", base.HEX)
f.interval = ProtoField.uint16("carpool.hello.interval", "Interval (ms)")
f.capabilities = ProtoField.uint16("carpool.hello.capabilities", "Capabilities", base.HEX)
for bit, capability in ipairs(capabilities) do
    local name, text = capability[1], capability[2]
    f["takes_" .. name] = ProtoField.bool("carpool.hello.takes." .. name, text, 16, nil, 2 ^ (bit - 1))
end
f.largest = ProtoField.uint16("carpool.hello.largest", "Largest pooled packet (bytes)")
f.longest = ProtoField.uint16("carpool.hello.longest", "Longest hello (bytes)")
f.stream = ProtoField.uint16("carpool.stream", "Stream id", base.HEX)
f.stream_flags = ProtoField.uint8("carpool.stream.flags", "Flags", base.HEX)
f.stream_has_id = ProtoField.bool("carpool.stream.has_id", "IP id or flow label follows", 8, nil, 0x10)
f.stream_no_checksum = ProtoField.bool("carpool.stream.no_checksum", "No UDP checksum", 8, nil, 0x08)
f.stream_df = ProtoField.bool("carpool.stream.df", "Don't fragment", 8, nil, 0x04)
f.stream_ecn = ProtoField.uint8("carpool.stream.ecn", "ECN", base.DEC, nil, 0x03)
f.run = ProtoField.uint32("carpool.instance", "Instance", base.HEX)
f.entry = ProtoField.none("carpool.entry", "Entry")
f.context = ProtoField.uint16("carpool.context", "Context", base.HEX)
f.stride = ProtoField.uint16("carpool.stride", "Stride")
f.changes = ProtoField.bytes("carpool.changes", "Changes and payload")
f.item = ProtoField.none("carpool.item", "Item")
f.item_type = ProtoField.uint8("carpool.item.type", "Type", base.DEC, items)
f.item_length = ProtoField.uint16("carpool.item.length", "Length")
f.item_instance = ProtoField.uint32("carpool.item.instance", "Instance", base.HEX)
f.item_port = ProtoField.uint16("carpool.item.source_port", "UDP source port")

local malformed = ProtoExpert.new("carpool.malformed", "Breaks the wire format", expert.group.MALFORMED, expert.severity.ERROR)
carpool.experts = { malformed }

local HEADER, ROW, HELLO, SHORT_HEADER, ITEM = 8, 6, 28, 12, 4

-- An entry of a provisioned stream: of its headers only what was not provisioned.
local function provisioned(tvb, tree)
    if tvb:len() < 3 then
        tree:add_proto_expert_info(malformed, "the entry is too short")
        return
    end
    tree:add(f.stream, tvb(0, 2))
    local flags = tree:add(f.stream_flags, tvb(2, 1))
    for _, flag in ipairs({ f.stream_has_id, f.stream_no_checksum, f.stream_df, f.stream_ecn }) do
        flags:add(flag, tvb(2, 1))
    end
    if tvb(2, 1):bitfield(0, 3) ~= 0 then
        tree:add_proto_expert_info(malformed, "flags that do not exist")
    end
end

local function rows(tvb, pinfo, tree, count)
    local data = HEADER + count * ROW
    if tvb:len() < data then
        tree:add_proto_expert_info(malformed, "the index ends behind the packet")
        return
    end
    local inside = {
        [4] = { dissector = Dissector.get("ip"), shortest = 20 },
        [41] = { dissector = Dissector.get("ipv6"), shortest = 40 },
    }
    for nth = 0, count - 1 do
        local row = tvb(HEADER + nth * ROW, ROW)
        local start, length = row(0, 2):uint(), row(2, 2):uint()
        local item = tree:add(f.row, row)
        item:append_text(string.format(" %d: %d bytes at %d, TTL %d", nth + 1, length, start, row(4, 1):uint()))
        item:add(f.start, row(0, 2))
        item:add(f.length, row(2, 2))
        item:add(f.ttl, row(4, 1))
        item:add(f.type, row(5, 1))
        local inner = inside[row(5, 1):uint()]
        if data + start + length > tvb:len() then
            item:add_proto_expert_info(malformed, "the row ends behind the data")
        elseif inner and length >= inner.shortest then
            inner.dissector:call(tvb(data + start, length):tvb(), pinfo, tree)
        elseif row(5, 1):uint() == 128 and length > 0 then
            provisioned(tvb(data + start, length), item)
        end
    end
end

-- The length of an IP packet as it says itself, 0 where it is none.
local function ip_length(tvb)
    if tvb:len() < 20 then return 0 end
    local version = tvb(0, 1):bitfield(0, 4)
    if version == 4 then return tvb(2, 2):uint() end
    return version == 6 and 40 + tvb(4, 2):uint() or 0
end

local function whole(tvb, pinfo, tree)
    local length = ip_length(tvb)
    if length ~= tvb:len() then
        tree:add_proto_expert_info(malformed, "no whole packet of this length")
        return
    end
    Dissector.get(tvb(0, 1):bitfield(0, 4) == 4 and "ip" or "ipv6"):call(tvb(0, length):tvb(), pinfo, tree)
end

-- What each first byte announces: how many bytes are between it and the packet.
local announcements = {
    [0x10] = { text = "announces a header, UDP", front = 3 },
    [0x18] = { text = "announces a header, RTP", front = 5 },
    [0x1c] = { text = "announces a header, RTP, IP id counts", front = 5 },
}

local function entry(tvb, pinfo, tree, item)
    local form = tvb(0, 1):uint()
    local announcement = announcements[form]
    if form >= 0x40 and form < 0x50 or form >= 0x60 and form < 0x70 then
        item:append_text(", a whole packet")
        whole(tvb, pinfo, tree)
    elseif announcement and tvb:len() > announcement.front then
        item:append_text(", " .. announcement.text)
        item:add(f.context, tvb(1, 2))
        if announcement.front == 5 then item:add(f.stride, tvb(3, 2)) end
        whole(tvb(announcement.front), pinfo, tree)
    elseif form >= 0x80 and tvb:len() >= 3 then
        item:append_text(string.format(", a packet of context 0x%04x", tvb(1, 2):uint()))
        item:add(f.context, tvb(1, 2))
        if tvb:len() > 3 then item:add(f.changes, tvb(3)) end
    else
        item:add_proto_expert_info(malformed, "no entry of a form that exists")
    end
end

-- Short rows, and the entries behind them.
local function short_rows(tvb, pinfo, tree, count)
    local at, lengths = SHORT_HEADER, {}
    if tvb:len() >= at then tree:add(f.run, tvb(HEADER, 4)) end
    while #lengths < count do
        local first = at < tvb:len() and tvb(at, 1):uint() or 255
        local wide = first == 0 or first >= 240
        if at + (wide and 2 or 1) > tvb:len() then
            tree:add_proto_expert_info(malformed, "the rows end behind the packet")
            return
        end
        local second = wide and tvb(at + 1, 1):uint() or 0
        if first == 0 then
            if #lengths == 0 or second == 0 or #lengths + second > count then
                tree:add_proto_expert_info(malformed, "a repetition of nothing, or beyond Count")
                return
            end
            for _ = 1, second do lengths[#lengths + 1] = lengths[#lengths] end
        else
            lengths[#lengths + 1] = wide and 240 + (first - 240) * 256 + second or first
        end
        at = at + (wide and 2 or 1)
    end
    for nth, length in ipairs(lengths) do
        if at + length > tvb:len() then
            tree:add_proto_expert_info(malformed, "an entry ends behind the packet")
            return
        end
        local item = tree:add(f.entry, tvb(at, length))
        item:append_text(string.format(" %d: %d bytes", nth, length))
        entry(tvb(at, length), pinfo, tree, item)
        at = at + length
    end
    if at ~= tvb:len() then
        tree:add_proto_expert_info(malformed, "the entries do not fill the packet")
    end
end

local function report(tvb, tree, count)
    local at = HEADER
    for _ = 1, count do
        local length = at + ITEM <= tvb:len() and tvb(at + 2, 2):uint() or tvb:len()
        if at + ITEM + length > tvb:len() then
            tree:add_proto_expert_info(malformed, "an item ends behind the packet")
            return
        end
        local item = tree:add(f.item, tvb(at, ITEM + length))
        local kind = tvb(at, 1):uint()
        item:append_text(": " .. (items[kind] or "type " .. kind))
        item:add(f.item_type, tvb(at, 1))
        item:add(f.item_length, tvb(at + 2, 2))
        if kind == 1 and length >= 8 and length % 2 == 0 then
            item:add(f.item_instance, tvb(at + 4, 4))
            item:add(f.item_port, tvb(at + 8, 2))
            for context = at + 10, at + ITEM + length - 2, 2 do item:add(f.context, tvb(context, 2)) end
        elseif kind == 1 then
            item:add_proto_expert_info(malformed, "no contexts have this length")
        end
        at = at + ITEM + length
    end
    if at ~= tvb:len() then
        tree:add_proto_expert_info(malformed, "the items do not fill the packet")
    end
end

-- Packets behind each other without rows: they say themselves where they end.
local function packets(tvb, pinfo, tree, count)
    local at = HEADER
    for _ = 1, count do
        if at + 20 > tvb:len() then break end
        local length = ip_length(tvb(at))
        if length < 20 or at + length > tvb:len() then break end
        whole(tvb(at, length), pinfo, tree)
        at = at + length
    end
    if at ~= tvb:len() then
        tree:add_proto_expert_info(malformed, "the packets do not fill the data")
    end
end

local function blocks(tvb, tree, count)
    local at = HEADER
    for _ = 1, count do
        local rows = at + ROW <= tvb:len() and tvb(at + 4, 1):uint() or 0
        if rows == 0 or at + ROW + rows * ROW > tvb:len() then break end
        local block = tree:add(f.block, tvb(at, ROW + rows * ROW))
        block:append_text(string.format(" of %d: %d rows", tvb(at, 4):uint(), rows))
        block:add(f.of, tvb(at, 4))
        block:add(f.rows, tvb(at + 4, 1))
        for nth = 1, rows do
            local row = tvb(at + nth * ROW, ROW)
            local item = block:add(f.row, row)
            item:append_text(string.format(" %d: %d bytes at %d", nth, row(2, 2):uint(), row(0, 2):uint()))
            item:add(f.start, row(0, 2))
            item:add(f.length, row(2, 2))
            item:add(f.ttl, row(4, 1))
            item:add(f.type, row(5, 1))
        end
        at = at + ROW + rows * ROW
    end
    if at ~= tvb:len() then
        tree:add_proto_expert_info(malformed, "the blocks do not fill the packet")
    end
end

function carpool.dissector(tvb, pinfo, root)
    if tvb:len() < HEADER then return 0 end
    local tree = root:add(carpool, tvb())
    tree:add(f.version, tvb(0, 1))
    tree:add(f.authenticated, tvb(0, 1))
    tree:add(f.kind, tvb(0, 1))
    tree:add(f.count, tvb(1, 1))
    tree:add(f.outer_ttl, tvb(2, 1))
    local template = tree:add(f.template, tvb(3, 1))
    tree:add(f.sequence, tvb(4, 4))
    local kind, count = tvb(0, 1):bitfield(4, 4), tvb(1, 1):uint()
    local source, destination = Address.ip(tostring(pinfo.src)), Address.ip(tostring(pinfo.dst))
    local info = string.format("%s, sequence %d", kinds[kind] or "kind " .. kind, tvb(4, 4):uint())
    if tvb(0, 1):bitfield(0, 4) ~= 1 then
        tree:add_proto_expert_info(malformed, "unknown version")
    elseif kind == 0 then
        info = string.format("%d packets share a ride, sequence %d", count, tvb(4, 4):uint())
        template:add(f.overlay, tvb(3, 1))
        rows(tvb, pinfo, tree, count)
    elseif kind == 1 or kind == 3 then
        info = string.format("%d packets share a ride, %s, sequence %d", count, kinds[kind], tvb(4, 4):uint())
        packets(tvb, pinfo, tree, count)
    elseif kind == 2 then
        info = string.format("indexes of %d pooled packets, sequence %d", count, tvb(4, 4):uint())
        blocks(tvb, tree, count)
    elseif kind == 5 then
        info = string.format("%d packets share a ride, %s, sequence %d", count, kinds[kind], tvb(4, 4):uint())
        short_rows(tvb, pinfo, tree, count)
    elseif kind == 6 then
        report(tvb, tree, count)
    elseif kind == 4 and tvb:len() < HELLO then
        tree:add_proto_expert_info(malformed, "too short for a hello")
    elseif kind == 4 then
        tree:add(f.router_id, tvb(8, 4))
        tree:add(f.instance, tvb(12, 4))
        tree:add(f.heard, tvb(16, 4))
        tree:add(f.interval, tvb(20, 2))
        local takes = tree:add(f.capabilities, tvb(22, 2))
        for _, capability in ipairs(capabilities) do takes:add(f["takes_" .. capability[1]], tvb(22, 2)) end
        tree:add(f.largest, tvb(24, 2))
        tree:add(f.longest, tvb(26, 2))
    end
    -- What the packets inside wrote there is about one of them only.
    pinfo.cols.protocol = "carpool"
    pinfo.src, pinfo.dst = source, destination
    pinfo.cols.info = info
    return tvb:len()
end

DissectorTable.get("udp.port"):add(7665, carpool)
