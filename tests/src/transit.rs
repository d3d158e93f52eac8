//! What the router in the middle saw: pooled packets, the rows in them, and stream packets that travelled alone.
//!
//! Reads the pool header of DESIGN.md, "Wire format", on its own: version and kind in the first byte, the count of
//! rows in the second.

use std::{collections::HashSet, time::Duration};

use crate::{
    capture::{Direction, Frame},
    frame::{Flow, Observation, ethernet_frame},
};

/// The UDP destination port of pooled packets.
pub const POOL_PORT: u16 = 7665;
const VERSION: u8 = 1;
/// Kind 0: the index is in the packet. Kind 5: so it is, in short rows. Kind 1: it is in another one, of kind 2. Kind 3:
/// there is none.
const IN_BAND: u8 = 0;
pub const OUT_OF_BAND: u8 = 1;
pub const INDEXES: u8 = 2;
const PREDETERMINED: u8 = 3;
pub const SHORT_ROWS: u8 = 5;
/// Bytes of the pool header and of a row of the index.
const HEADER: usize = 8;
const ROW: usize = 6;
/// The high bit of the kind: an authentication trailer ends the packet.
const AUTHENTICATED: u8 = 0x8;

/// Packets that carried the streams across one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    pub pooled: usize,
    /// Stream packets inside the pooled ones.
    pub rows: usize,
    /// Stream packets that crossed as themselves.
    pub lone: usize,
}

impl Crossing {
    /// Counts a packet that is neither of a stream nor pooled (a hello, say) as nothing.
    pub fn add(&mut self, observation: &Observation, is_stream: impl Fn(&Flow) -> bool) {
        if is_stream(&observation.flow) {
            self.lone += 1;
        } else if let Some(rows) = rows(observation) {
            self.pooled += 1;
            self.rows += rows;
        }
    }

    /// All packets in transit that carried stream packets.
    pub fn packets(&self) -> usize {
        self.pooled + self.lone
    }

    /// Stream packets that crossed.
    pub fn carried(&self) -> usize {
        self.rows + self.lone
    }
}

/// The packets that crossed inside pooled packets, known by all that no router changes.
#[derive(Clone, Debug, Default)]
pub struct Riders(HashSet<Vec<u8>>);

impl Riders {
    /// Takes note of the whole packets inside a pooled packet; of any other packet, nothing.
    pub fn add(&mut self, observation: &Observation) {
        self.0.extend(whole_packets(observation).iter().map(Observation::invariant));
    }

    /// Takes note of a packet that was seen inside another at this time, in whatever format.
    pub fn add_packet(&mut self, packet: &[u8], at: Duration) {
        let inner = Observation::of(&ethernet_frame(packet, at, Direction::In));
        self.0.extend(inner.map(|inner| inner.invariant()));
    }

    /// Whether this packet, or one that differs only in what routers change, was inside.
    pub fn contains(&self, observation: &Observation) -> bool {
        self.0.contains(&observation.invariant())
    }
}

/// The kind of a packet of the pool format, without the bit of its trailer; `None` for any other packet.
pub fn kind(observation: &Observation) -> Option<u8> {
    let first = *observation.payload().first()?;
    let is_ours = observation.flow.destination.port() == POOL_PORT && first >> 4 == VERSION;
    is_ours.then_some(first & 0x0f & !AUTHENTICATED)
}

/// The whole IPv4 packets with UDP inside a pooled packet, where its index says or, where there is none in band, as they
/// follow each other; of any other packet none.
pub fn whole_packets(observation: &Observation) -> Vec<Observation> {
    let behind = observation.payload().get(HEADER..).unwrap_or_default();
    let packets: Vec<&[u8]> = match kind(observation) {
        Some(IN_BAND) => {
            let (index, data) = behind.split_at((rows(observation).unwrap_or(0) * ROW).min(behind.len()));
            let place = |row: &[u8]| [0, 2].map(|at| usize::from(u16::from_be_bytes([row[at], row[at + 1]])));
            index.chunks_exact(ROW).map(place).filter_map(|[start, length]| data.get(start..start + length)).collect()
        }
        Some(OUT_OF_BAND) => {
            let mut left = behind;
            let next = || {
                let length = usize::from(u16::from_be_bytes([*left.get(2)?, *left.get(3)?]));
                let (packet, rest) = left.split_at_checked(length.max(1))?;
                left = rest;
                Some(packet)
            };
            std::iter::from_fn(next).collect()
        }
        _ => Vec::new(),
    };
    let seen = |packet: &&[u8]| Observation::of(&ethernet_frame(packet, observation.at, Direction::In));
    packets.iter().filter_map(seen).collect()
}

/// How many packets a pooled packet has inside; `None` for any other packet.
pub fn rows(observation: &Observation) -> Option<usize> {
    counted(observation, &[IN_BAND, OUT_OF_BAND, PREDETERMINED, SHORT_ROWS])
}

/// How many pooled packets an index packet is about; `None` for any other packet.
pub fn indexes(frame: &Frame) -> Option<usize> {
    counted(&Observation::of(frame)?, &[INDEXES])
}

/// The count in a packet of one of these kinds.
fn counted(observation: &Observation, kinds: &[u8]) -> Option<usize> {
    let count = *observation.payload().get(1)?;
    kinds.contains(&kind(observation)?).then_some(usize::from(count))
}

/// The TTLs of the rows of a pooled packet with its index in band, in order; of any other packet none.
pub fn row_ttls(observation: &Observation) -> Vec<u8> {
    let count = counted(observation, &[IN_BAND]).unwrap_or(0);
    let index = observation.payload().get(HEADER..).unwrap_or_default();
    index.chunks_exact(ROW).take(count).map(|row| row[ROW - 2]).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::{
        frame::udp_packet,
        wire::{PooledPacket, outer},
    };

    fn packet(identification: u16) -> Vec<u8> {
        let end = |host, port| SocketAddrV4::new([192, 0, 2, host].into(), port);
        udp_packet(Flow { source: end(1, 1), destination: end(2, 2) }, 63, identification, b"voice")
    }

    fn seen(packet: &[u8]) -> Observation {
        Observation::of(&ethernet_frame(packet, Duration::ZERO, Direction::In)).expect("a UDP packet")
    }

    #[test]
    fn riders_are_those_inside_pooled_packets_and_no_others() {
        let mut riders = Riders::default();
        let pooled = PooledPacket::carrying(&[packet(1), packet(2)]).payload();
        riders.add(&seen(&outer([198, 51, 100, 1].into(), [198, 51, 100, 2].into(), &pooled)));
        riders.add(&seen(&packet(3)));
        assert!(riders.contains(&seen(&packet(1))) && riders.contains(&seen(&packet(2))));
        assert!(!riders.contains(&seen(&packet(3))));
    }

    #[test]
    fn whole_packets_are_found_by_the_index_in_band_and_without_one_as_they_follow_each_other() {
        let carried = [packet(1), packet(2)];
        let mut pooled = PooledPacket::carrying(&carried);
        let inside = |pooled: &PooledPacket| {
            let seen = seen(&outer([198, 51, 100, 1].into(), [198, 51, 100, 2].into(), &pooled.payload()));
            whole_packets(&seen).iter().map(|packet| packet.packet().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(inside(&pooled), carried);
        (pooled.kind, pooled.rows) = (OUT_OF_BAND, Vec::new());
        assert_eq!(inside(&pooled), carried);
        pooled.kind = SHORT_ROWS;
        assert!(inside(&pooled).is_empty(), "there they have no headers");
        assert!(whole_packets(&seen(&packet(3))).is_empty(), "it is no pooled packet");
    }
}
