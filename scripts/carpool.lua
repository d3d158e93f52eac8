-- Wireshark dissector for carpool's pooled packets and hellos, native wire format version 1 (docs/wire-format.md).
-- Wireshark:  copy it to the personal Lua plugins folder (Help, About, Folders)
-- tshark:     tshark -X lua_script:scripts/carpool.lua -r FILE

local carpool = Proto("carpool", "carpool pooled packets")

local kinds = {
    [0] = "pooled packet, index in band",
    [1] = "pooled packet, index out of band",
    [2] = "indexes",
    [3] = "pooled packet, predetermined",
    [4] = "hello",
}
local types = { [4] = "whole IPv4 packet", [41] = "whole IPv6 packet", [128] = "packet of a provisioned stream" }

local f = carpool.fields
f.version = ProtoField.uint8("carpool.version", "Version", base.DEC, nil, 0xf0)
f.authenticated = ProtoField.bool("carpool.authenticated", "Authentication trailer", 8, nil, 0x08)
f.kind = ProtoField.uint8("carpool.kind", "Kind", base.DEC, kinds, 0x07)
f.count = ProtoField.uint8("carpool.count", "Count")
f.outer_ttl = ProtoField.uint8("carpool.outer_ttl", "Outer TTL")
f.template = ProtoField.uint8("carpool.template", "Template")
f.sequence = ProtoField.uint32("carpool.sequence", "Sequence number")
f.row = ProtoField.none("carpool.row", "Row")
f.start = ProtoField.uint16("carpool.row.start", "Start")
f.length = ProtoField.uint16("carpool.row.length", "Length")
f.ttl = ProtoField.uint8("carpool.row.ttl", "TTL")
f.type = ProtoField.uint8("carpool.row.type", "Type", base.DEC, types)
f.stream = ProtoField.uint16("carpool.row.stream", "Stream id")
f.block = ProtoField.none("carpool.block", "Index")
f.of = ProtoField.uint32("carpool.block.sequence", "Sequence number of the pooled packet")
f.rows = ProtoField.uint8("carpool.block.rows", "Rows")
f.router_id = ProtoField.ipv4("carpool.hello.router_id", "Router id")
f.instance = ProtoField.uint32("carpool.hello.instance", "Instance", base.HEX)
f.heard = ProtoField.uint32("carpool.hello.heard_instance", "Heard instance", base.HEX)
f.interval = ProtoField.uint16("carpool.hello.interval", "Interval (ms)")
f.capabilities = ProtoField.uint16("carpool.hello.capabilities", "Capabilities", base.HEX)
f.largest = ProtoField.uint16("carpool.hello.largest", "Largest pooled packet (bytes)")

local malformed = ProtoExpert.new("carpool.malformed", "Breaks the wire format", expert.group.MALFORMED, expert.severity.ERROR)
carpool.experts = { malformed }

local HEADER, ROW, HELLO = 8, 6, 28
local PROVISIONED = 128

local function rows(tvb, pinfo, tree, count)
    local data = HEADER + count * ROW
    if tvb:len() < data then
        tree:add_proto_expert_info(malformed, "the index ends behind the packet")
        return
    end
    local whole = {
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
        local inner = whole[row(5, 1):uint()]
        if data + start + length > tvb:len() then
            item:add_proto_expert_info(malformed, "the row ends behind the data")
        elseif inner and length >= inner.shortest then
            inner.dissector:call(tvb(data + start, length):tvb(), pinfo, tree)
        elseif row(5, 1):uint() == PROVISIONED and length >= 3 then
            item:add(f.stream, tvb(data + start, 2))
        end
    end
end

-- Packets behind each other without rows: they say themselves where they end.
local function packets(tvb, pinfo, tree, count)
    local at = HEADER
    for _ = 1, count do
        if at + 20 > tvb:len() then break end
        local version, length = tvb(at, 1):bitfield(0, 4), 0
        if version == 4 then
            length = tvb(at + 2, 2):uint()
        elseif version == 6 then
            length = 40 + tvb(at + 4, 2):uint()
        end
        if length < 20 or at + length > tvb:len() then break end
        Dissector.get(version == 4 and "ip" or "ipv6"):call(tvb(at, length):tvb(), pinfo, tree)
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
    tree:add(f.template, tvb(3, 1))
    tree:add(f.sequence, tvb(4, 4))
    local kind, count = tvb(0, 1):bitfield(4, 4), tvb(1, 1):uint()
    local source, destination = Address.ip(tostring(pinfo.src)), Address.ip(tostring(pinfo.dst))
    local info = string.format("%s, sequence %d", kinds[kind] or "kind " .. kind, tvb(4, 4):uint())
    if tvb(0, 1):bitfield(0, 4) ~= 1 then
        tree:add_proto_expert_info(malformed, "unknown version")
    elseif kind == 0 then
        info = string.format("%d packets share a ride, sequence %d", count, tvb(4, 4):uint())
        rows(tvb, pinfo, tree, count)
    elseif kind == 1 or kind == 3 then
        info = string.format("%d packets share a ride, %s, sequence %d", count, kinds[kind], tvb(4, 4):uint())
        packets(tvb, pinfo, tree, count)
    elseif kind == 2 then
        info = string.format("indexes of %d pooled packets, sequence %d", count, tvb(4, 4):uint())
        blocks(tvb, tree, count)
    elseif kind == 4 and tvb:len() >= HELLO then
        tree:add(f.router_id, tvb(8, 4))
        tree:add(f.instance, tvb(12, 4))
        tree:add(f.heard, tvb(16, 4))
        tree:add(f.interval, tvb(20, 2))
        tree:add(f.capabilities, tvb(22, 2))
        tree:add(f.largest, tvb(24, 2))
    end
    -- What the packets inside wrote there is about one of them only.
    pinfo.cols.protocol = "carpool"
    pinfo.src, pinfo.dst = source, destination
    pinfo.cols.info = info
    return tvb:len()
end

DissectorTable.get("udp.port"):add(7665, carpool)
