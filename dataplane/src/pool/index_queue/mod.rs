//! The waiting room for pooled packets whose index travels apart from them (kinds 1 and 2).
//!
//! Packets wait for their index and indexes for their packet, for a bounded time, and are handed out strictly in the order
//! of their sequence numbers, per sender and source port: whatever is lost, late, repeated or forged, no packet is handed
//! out behind one that was sent after it. The worker says of every packet that it has [`reach`](IndexQueue::reach)ed a
//! number, adds it, and each time takes out what [`next`](IndexQueue::next) has. Nothing is allocated after construction.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)
)]

mod stream;
mod waiting;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use hashbrown::HashMap;

use self::stream::{Fate, Head, Place, Slot, Stream};
use self::waiting::{NONE, Waiting};
use super::wire::{BLOCK_HEADER_LEN, HEADER_LEN, IndexPacket, ROW_LEN};
use crate::arch::{Tick, TickSpan};
use crate::packet::Buffer;

/// Whose sequence a number is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The address of the peer that sent it.
    pub peer: IpAddr,
    /// Our address that it was sent to.
    pub to: IpAddr,
    /// The UDP source port it was sent from.
    pub src_port: u16,
}

/// The bounds of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Senders and source ports that are followed at once.
    pub streams: u16,
    /// Packets that wait at once, index packets included.
    pub packets: u16,
    /// Their length in all, in bytes.
    pub bytes: usize,
    /// The longest that anything waits.
    pub wait: TickSpan,
    /// A sequence that was silent for so long may go on with any number.
    pub forget: TickSpan,
}

/// Why a packet was not handed out. The names are those of drop counters (docs/wire-format.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueDrop {
    /// A pooled packet whose index did not come in time.
    IndexMissing,
    /// A pooled packet that came when its number had been passed over.
    DataLate,
    /// A pooled packet whose number another one had before.
    DataDuplicate,
    /// An index packet of which no block found its pooled packet in time.
    IndexUnused,
    /// An index packet about pooled packets that had been passed over.
    IndexLate,
    /// An index packet about pooled packets whose index was there before.
    IndexDuplicate,
    /// A packet whose number is far from where its sequence stands, or an index packet about such numbers.
    Stray,
    /// There was no room for the packet to wait in.
    Full,
}

/// A packet that comes to wait. `T` is what the worker wants to know of it afterwards.
#[derive(Debug)]
pub struct Arrival<B, T> {
    /// Its memory.
    pub buffer: B,
    /// Where its UDP payload starts in the buffer; it ends with it.
    pub payload_at: u16,
    /// What the worker wants to know.
    pub tag: T,
}

/// What leaves the queue.
#[derive(Debug)]
pub enum Settled<'a, B, T> {
    /// A pooled packet and the rows of its index, not yet compared.
    Ready(Arrival<B, T>, &'a [[u8; ROW_LEN]]),
    /// A packet that is dropped.
    Dropped(B, QueueDrop),
    /// An index packet of which a block or more was used.
    Used(B),
}

/// The waiting room of one worker.
pub struct IndexQueue<B, T> {
    limits: QueueLimits,
    by_key: HashMap<StreamKey, u16>,
    streams: Vec<Followed>,
    waiting: Waiting<Item<B, T>>,
    bytes: usize,
    /// The stream whose next number may be ready.
    touched: Option<u16>,
    /// An index packet all of whose blocks are settled.
    spent: Option<u16>,
}

/// A stream that is, or could be, followed.
struct Followed {
    key: Option<StreamKey>,
    stream: Stream,
}

/// What waits.
struct Item<B, T> {
    arrival: Arrival<B, T>,
    length: usize,
    stream: u16,
    arrived: Tick,
    role: Role,
}

enum Role {
    /// A pooled packet with this number.
    Data(u32),
    /// An index packet, of which so many blocks wait for their packet.
    Index { blocks: u16, used: bool },
}

impl<B: Buffer, T: Copy> IndexQueue<B, T> {
    /// An empty queue. All the memory it will ever need is allocated here.
    pub fn new(limits: QueueLimits) -> IndexQueue<B, T> {
        let limits = QueueLimits { streams: limits.streams.min(NONE - 1), ..limits };
        IndexQueue {
            limits,
            by_key: HashMap::with_capacity(2 * usize::from(limits.streams)),
            streams: (0..limits.streams).map(|_| Followed { key: None, stream: Stream::new() }).collect(),
            waiting: Waiting::new(limits.packets),
            bytes: 0,
            touched: None,
            spent: None,
        }
    }

    /// Packets that wait here, index packets included.
    #[inline(always)]
    pub fn held(&self) -> usize {
        self.waiting.len()
    }

    /// When the first of them has waited long enough: the worker must not sleep past it.
    #[inline]
    pub fn next_deadline(&self) -> Option<Tick> {
        self.waiting.oldest().map(|(_, item)| item.arrived + self.limits.wait)
    }

    /// Whether anything was ever sent without its index by this sender, as far as is remembered.
    #[inline(always)]
    pub fn follows(&self, key: StreamKey) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&key)
    }

    /// To be called for every packet of kind 1 or 2, and for every other one of a sequence that is
    /// [followed](IndexQueue::follows), before it is added. Then take out what is [next](IndexQueue::next): it may have to
    /// make room. `begin` is where the sequence is taken to begin if nothing is known of it.
    ///
    /// # Errors
    /// What is said of the packet where it is not to be added: [`QueueDrop::Stray`] or [`QueueDrop::Full`].
    #[inline]
    pub fn reach(&mut self, key: StreamKey, sequence: u32, begin: u32, now: Tick) -> Result<(), QueueDrop> {
        let at = match self.by_key.get(&key) {
            Some(at) => *at,
            None => self.follow(key, begin, now).ok_or(QueueDrop::Full)?,
        };
        let followed = self.streams.get_mut(usize::from(at)).ok_or(QueueDrop::Full)?;
        self.touched = Some(at);
        let is_believed = followed.stream.reach(sequence, now, self.limits.wait, self.limits.forget);
        if is_believed { Ok(()) } else { Err(QueueDrop::Stray) }
    }

    /// Adds a packet of kind 1.
    ///
    /// # Errors
    /// Gives it back with the reason to drop it for.
    #[inline]
    pub fn add_data(
        &mut self,
        key: StreamKey,
        sequence: u32,
        arrival: Arrival<B, T>,
        now: Tick,
    ) -> Result<(), (B, QueueDrop)> {
        let Some((at, stream)) = stream_of(&self.by_key, &mut self.streams, key) else {
            return Err((arrival.buffer, QueueDrop::Full));
        };
        self.touched = Some(at);
        if stream.place(sequence) == Place::Elsewhere && stream.is_empty() {
            stream.begin(sequence, now);
        }
        let reason = match stream.place(sequence) {
            Place::Ahead(Fate::Unknown) if stream.slot(sequence).data == NONE => None,
            Place::Ahead(_) | Place::Behind(Fate::Delivered | Fate::Other) => Some(QueueDrop::DataDuplicate),
            Place::Behind(Fate::GivenUp | Fate::Unknown) => Some(QueueDrop::DataLate),
            Place::Elsewhere => Some(QueueDrop::Full),
        };
        if let Some(reason) = reason {
            return Err((arrival.buffer, reason));
        }
        match self.hold(at, arrival, Role::Data(sequence), now) {
            Ok(place) => {
                if let Some(followed) = self.streams.get_mut(usize::from(at)) {
                    followed.stream.put_data(sequence, place, now);
                }
                Ok(())
            }
            Err(buffer) => {
                // What comes behind it need not wait for it.
                if let Some(followed) = self.streams.get_mut(usize::from(at)) {
                    followed.stream.put_other(sequence, now);
                }
                Err((buffer, QueueDrop::Full))
            }
        }
    }

    /// Adds a packet of kind 2 with the number `sequence`.
    ///
    /// # Errors
    /// Gives it back with the reason to drop it for.
    #[inline]
    pub fn add_index(
        &mut self,
        key: StreamKey,
        sequence: u32,
        arrival: Arrival<B, T>,
        now: Tick,
    ) -> Result<(), (B, QueueDrop)> {
        let Some((at, stream)) = stream_of(&self.by_key, &mut self.streams, key) else {
            return Err((arrival.buffer, QueueDrop::Full));
        };
        self.touched = Some(at);
        let has_room = self.bytes + arrival.buffer.len() <= self.limits.bytes;
        let Some(place) = self.waiting.next_place().filter(|_| has_room) else {
            return Err((arrival.buffer, QueueDrop::Full));
        };
        let Some(index) = payload(&arrival).and_then(|payload| IndexPacket::parse(payload).ok()) else {
            return Err((arrival.buffer, QueueDrop::IndexUnused));
        };
        let first = index.blocks().next().map_or(sequence, |block| block.sequence);
        if stream.place(sequence) == Place::Elsewhere && stream.is_empty() {
            stream.begin(first, now);
        }
        let (mut blocks, mut useless, mut rows_at) = (0, None, HEADER_LEN);
        for block in index.blocks() {
            rows_at += BLOCK_HEADER_LEN;
            match stream.place(block.sequence) {
                Place::Ahead(Fate::Unknown) if stream.slot(block.sequence).index == NONE => {
                    stream.put_index(block.sequence, place, rows_at as u16, block.rows.len() as u8);
                    blocks += 1;
                }
                Place::Ahead(Fate::Unknown) | Place::Behind(Fate::Delivered) => {
                    useless.get_or_insert(QueueDrop::IndexDuplicate);
                }
                Place::Ahead(_) | Place::Behind(Fate::Other) => {
                    useless.get_or_insert(QueueDrop::IndexUnused);
                }
                Place::Behind(Fate::GivenUp | Fate::Unknown) => {
                    useless.get_or_insert(QueueDrop::IndexLate);
                }
                Place::Elsewhere => {
                    useless.get_or_insert(QueueDrop::Stray);
                }
            }
            rows_at += block.rows.len() * ROW_LEN;
        }
        if matches!(stream.place(sequence), Place::Ahead(Fate::Unknown)) && stream.slot(sequence).data == NONE {
            stream.put_other(sequence, now);
        }
        if blocks == 0 {
            return Err((arrival.buffer, useless.unwrap_or(QueueDrop::IndexUnused)));
        }
        let held = self.hold(at, arrival, Role::Index { blocks, used: false }, now);
        held.map(|_| ()).map_err(|buffer| (buffer, QueueDrop::Full))
    }

    /// Takes note that a packet of another kind had this number: it is not waited for.
    #[inline]
    pub fn add_other(&mut self, key: StreamKey, sequence: u32, now: Tick) {
        let Some((at, stream)) = stream_of(&self.by_key, &mut self.streams, key) else { return };
        self.touched = Some(at);
        if stream.place(sequence) == Place::Elsewhere && stream.is_empty() {
            stream.begin(sequence, now);
        }
        if stream.place(sequence) == Place::Ahead(Fate::Unknown) && stream.slot(sequence).data == NONE {
            stream.put_other(sequence, now);
        }
    }

    /// What leaves the queue next: what can be handed out, and what has waited too long at the time `now`. None when
    /// everything that is left can wait on.
    #[inline]
    pub fn next(&mut self, now: Tick) -> Option<Settled<'_, B, T>> {
        if self.held() == 0 && self.touched.is_none() {
            return None;
        }
        self.settle(now)
    }

    /// Takes out a packet of a sender that is not to be kept, whatever it waits for. None when there is no more; the
    /// sequences of such senders are forgotten then.
    pub fn take_unless(&mut self, keep: impl Fn(&StreamKey) -> bool) -> Option<B> {
        let key_of = |at: u16| self.streams.get(usize::from(at)).and_then(|followed| followed.key);
        let gone = self.waiting.iter().find(|(_, item)| !key_of(item.stream).is_some_and(|key| keep(&key)));
        if let Some((at, _)) = gone {
            return self.discard(at);
        }
        for followed in &mut self.streams {
            if let Some(key) = followed.key.take_if(|key| !keep(key)) {
                self.by_key.remove(&key);
            }
        }
        None
    }

    /// [`IndexQueue::next`] where something may be found.
    fn settle(&mut self, now: Tick) -> Option<Settled<'_, B, T>> {
        loop {
            if let Some(spent) = self.spent.take()
                && let Some(item) = self.release(spent)
            {
                return Some(match item.role {
                    Role::Index { used: true, .. } => Settled::Used(item.arrival.buffer),
                    _ => Settled::Dropped(item.arrival.buffer, QueueDrop::IndexUnused),
                });
            }
            if let Some(at) = self.touched {
                let Some(followed) = self.streams.get_mut(usize::from(at)) else { break };
                match followed.stream.settle(now) {
                    Head::Ready(slot) => {
                        let item = self.release(slot.data)?;
                        self.block_settled(slot.index, true);
                        return Some(Settled::Ready(item.arrival, self.rows(&slot)));
                    }
                    Head::GivenUp(slot) => {
                        self.block_settled(slot.index, false);
                        if let Some(item) = self.release(slot.data) {
                            return Some(Settled::Dropped(item.arrival.buffer, QueueDrop::IndexMissing));
                        }
                        continue;
                    }
                    Head::Blocked => self.touched = None,
                }
            }
            let (at, item) = self.waiting.oldest()?;
            if now < item.arrived + self.limits.wait {
                break;
            }
            match item.role {
                Role::Data(sequence) => {
                    let stream = item.stream;
                    self.touched = Some(stream);
                    if let Some(followed) = self.streams.get_mut(usize::from(stream)) {
                        followed.stream.give_up_before(sequence.wrapping_add(1));
                    }
                }
                Role::Index { used, .. } => {
                    // A pooled packet that has its index and only waits for its turn has it now.
                    let stream = item.stream;
                    let Some(followed) = self.streams.get_mut(usize::from(stream)) else { break };
                    let waits = |sequence: &u32| followed.stream.is_complete_with(*sequence, at);
                    if let Some(sequence) = numbers(&item.arrival).filter(waits).last() {
                        followed.stream.give_up_before(sequence.wrapping_add(1));
                        self.touched = Some(stream);
                        continue;
                    }
                    let buffer = self.discard(at)?;
                    return Some(if used {
                        Settled::Used(buffer)
                    } else {
                        Settled::Dropped(buffer, QueueDrop::IndexUnused)
                    });
                }
            }
        }
        None
    }

    /// The stream of `key` from now on, in the place of one that nothing waits in where there is no other.
    #[cold]
    fn follow(&mut self, key: StreamKey, begin: u32, now: Tick) -> Option<u16> {
        let vacant = (0u16..).zip(&self.streams).filter(|(_, followed)| followed.stream.is_empty());
        let (at, _) = vacant.min_by_key(|(_, followed)| followed.key.map(|_| followed.stream.heard()))?;
        let followed = self.streams.get_mut(usize::from(at))?;
        if let Some(forgotten) = followed.key.replace(key) {
            self.by_key.remove(&forgotten);
        }
        followed.stream.begin(begin, now);
        self.by_key.insert(key, at);
        Some(at)
    }

    fn hold(&mut self, stream: u16, arrival: Arrival<B, T>, role: Role, now: Tick) -> Result<u16, B> {
        let length = arrival.buffer.len();
        if self.bytes + length > self.limits.bytes {
            return Err(arrival.buffer);
        }
        match self.waiting.push(Item { arrival, length, stream, arrived: now, role }) {
            Ok(at) => {
                self.bytes += length;
                Ok(at)
            }
            Err(item) => Err(item.arrival.buffer),
        }
    }

    fn release(&mut self, at: u16) -> Option<Item<B, T>> {
        let item = self.waiting.remove(at)?;
        self.bytes -= item.length;
        Some(item)
    }

    /// Takes a packet out, and its traces out of its stream.
    fn discard(&mut self, at: u16) -> Option<B> {
        let Item { arrival, stream, role, .. } = self.release(at)?;
        match role {
            Role::Data(sequence) => {
                if let Some(followed) = self.streams.get_mut(usize::from(stream)) {
                    followed.stream.remove_data(sequence);
                }
            }
            Role::Index { .. } => {
                if let Some(followed) = self.streams.get_mut(usize::from(stream)) {
                    for sequence in numbers(&arrival) {
                        followed.stream.remove_index(sequence, at);
                    }
                }
            }
        }
        Some(arrival.buffer)
    }

    /// One block fewer of an index packet waits.
    #[inline]
    fn block_settled(&mut self, at: u16, is_used: bool) {
        if let Some(Item { role: Role::Index { blocks, used }, .. }) = self.waiting.get_mut(at) {
            *used |= is_used;
            *blocks -= 1;
            if *blocks == 0 {
                self.spent = Some(at);
            }
        }
    }

    /// The rows that a slot names; none where they are not there.
    #[inline]
    fn rows(&self, slot: &Slot) -> &[[u8; ROW_LEN]] {
        let payload = self.waiting.get(slot.index).and_then(|item| payload(&item.arrival));
        let rows = payload.and_then(|payload| payload.get(usize::from(slot.rows_at)..));
        rows.and_then(|rows| rows.get(..usize::from(slot.rows) * ROW_LEN)).unwrap_or_default().as_chunks().0
    }
}

/// The stream of `key`, if it is followed, and its place.
#[inline]
fn stream_of<'a>(
    by_key: &HashMap<StreamKey, u16>,
    streams: &'a mut [Followed],
    key: StreamKey,
) -> Option<(u16, &'a mut Stream)> {
    let at = *by_key.get(&key)?;
    Some((at, &mut streams.get_mut(usize::from(at))?.stream))
}

/// The numbers of the pooled packets that an index packet is about.
fn numbers<B: Buffer, T>(arrival: &Arrival<B, T>) -> impl Iterator<Item = u32> {
    let index = payload(arrival).and_then(|payload| IndexPacket::parse(payload).ok());
    index.into_iter().flat_map(|index| index.blocks().map(|block| block.sequence))
}

/// The UDP payload of a packet.
#[inline]
fn payload<B: Buffer, T>(arrival: &Arrival<B, T>) -> Option<&[u8]> {
    arrival.buffer.bytes().get(usize::from(arrival.payload_at)..)
}
