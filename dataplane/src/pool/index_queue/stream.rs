//! The sequence of one source port: which number is next, and what is known of those around it.
//!
//! Every number before `next` is settled: what it carried was handed out, or never will be. Numbers settle one by one, so
//! nothing is handed out behind what came later in the sequence.

use super::super::wire::MAX_BLOCK_DISTANCE;
use super::waiting::NONE;
use crate::arch::{Tick, TickSpan};

/// How far ahead of the next number something is known of.
const AHEAD: u32 = 512;
/// How far ahead a packet can be before what waits is given up for it: so that the numbers which an index names behind its
/// own are still near.
const REACH: u32 = AHEAD - MAX_BLOCK_DISTANCE;
/// How far behind the next number late is told from duplicate.
const BEHIND: u32 = 512;
/// A power of two: numbers wrap, and keep their slots.
const SLOTS: usize = (AHEAD + BEHIND) as usize;
/// The largest gap that is taken for loss; a larger one is taken for a sender that began anew.
const MAX_GAP: u32 = 1 << 16;

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing was seen of it, or it waits.
    Unknown,
    /// A packet that does not wait had it.
    Other,
    /// What it carried was handed out.
    Delivered,
    /// It is not waited for any longer.
    GivenUp,
}

/// What is known of a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Where its packet waits.
    pub data: u16,
    /// Where the packet with its index waits.
    pub index: u16,
    /// Where in that packet's payload its rows are.
    pub rows_at: u16,
    /// How many they are.
    pub rows: u8,
    /// What became of it.
    pub fate: Fate,
}

const EMPTY: Slot = Slot { data: NONE, index: NONE, rows_at: 0, rows: 0, fate: Fate::Unknown };

/// What is to be done about the next number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    /// It has its packet and its index, and is settled: this is what its slot held.
    Ready(Slot),
    /// It is settled without having both: this is what its slot held.
    GivenUp(Slot),
    /// It waits, or nothing is known of it.
    Blocked,
}

/// Where a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is not settled, and near.
    Ahead(Fate),
    /// It is settled.
    Behind(Fate),
    /// It is too far away to be told.
    Elsewhere,
}

/// A sequence.
pub(super) struct Stream {
    next: u32,
    /// The highest number that was seen.
    highest: u32,
    /// Numbers before this one are waited for no longer.
    floor: u32,
    /// Since when numbers before `highest` have been missing.
    gap_since: Option<Tick>,
    /// When something was last heard.
    heard: Tick,
    /// The number that would follow the last stray one (RFC 3550 appendix A.1 resynchronises the same way).
    after_stray: Option<u32>,
    /// How much in the slots waits: packets, and blocks of indexes.
    waiting: u16,
    slots: Box<[Slot; SLOTS]>,
}

/// How far `to` is ahead of `from`; negative where it is behind (RFC 1982).
#[inline(always)]
fn distance(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from) as i32)
}

impl Stream {
    /// A sequence nothing is known of.
    pub fn new() -> Stream {
        Stream {
            next: 0,
            highest: u32::MAX,
            floor: 0,
            gap_since: None,
            heard: Tick(0),
            after_stray: None,
            waiting: 0,
            slots: Box::new([EMPTY; SLOTS]),
        }
    }

    /// Begins anew; nothing waits.
    pub fn begin(&mut self, next: u32, now: Tick) {
        self.slots.fill(EMPTY);
        (self.next, self.highest, self.floor) = (next, next.wrapping_sub(1), next);
        (self.gap_since, self.after_stray, self.heard, self.waiting) = (None, None, now, 0);
    }

    /// Whether nothing waits here.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// When something was last heard.
    pub fn heard(&self) -> Tick {
        self.heard
    }

    /// Takes note of a packet with a number, before anything is done about it: gives up what must be given up so that it
    /// finds its place. False where the number is not believed.
    pub fn reach(&mut self, sequence: u32, now: Tick, wait: TickSpan, forget: TickSpan) -> bool {
        // A gap that nothing waited behind is not waited for either once it is old enough.
        if self.is_empty() && self.gap_since.is_some_and(|since| now.since(since) >= wait) {
            self.give_up_before(self.highest.wrapping_add(1));
        }
        match distance(self.next, sequence) {
            near if (-i64::from(BEHIND)..i64::from(REACH)).contains(&near) => {}
            far if (i64::from(REACH)..=i64::from(MAX_GAP)).contains(&far) => {
                self.give_up_before(sequence.wrapping_sub(REACH - 1));
            }
            _ if self.is_empty() && now.since(self.heard) >= forget => {}
            _ if self.after_stray == Some(sequence) => self.give_up_before(self.next.wrapping_add(AHEAD)),
            _ => {
                self.after_stray = Some(sequence.wrapping_add(1));
                return false;
            }
        }
        self.after_stray = None;
        self.heard = now;
        true
    }

    /// Waits no longer for numbers before `sequence`.
    #[inline]
    pub fn give_up_before(&mut self, sequence: u32) {
        if distance(self.floor, sequence) > 0 {
            self.floor = sequence;
        }
    }

    /// Where a number is.
    #[inline]
    pub fn place(&self, sequence: u32) -> Place {
        let fate = self.slot(sequence).fate;
        match distance(self.next, sequence) {
            ahead if (0..i64::from(AHEAD)).contains(&ahead) => Place::Ahead(fate),
            behind if (-i64::from(BEHIND)..0).contains(&behind) => Place::Behind(fate),
            _ => Place::Elsewhere,
        }
    }

    /// What is known of a number that is near.
    #[inline]
    pub fn slot(&self, sequence: u32) -> Slot {
        self.slots.get(at(sequence)).copied().unwrap_or(EMPTY)
    }

    /// Has the packet of a number that is ahead wait.
    #[inline]
    pub fn put_data(&mut self, sequence: u32, data: u16, now: Tick) {
        self.see(sequence, now);
        self.change(sequence, |slot| slot.data = data);
    }

    /// Has the index of a number that is ahead wait.
    #[inline]
    pub fn put_index(&mut self, sequence: u32, index: u16, rows_at: u16, rows: u8) {
        self.change(sequence, |slot| (slot.index, slot.rows_at, slot.rows) = (index, rows_at, rows));
    }

    /// Takes note that a number that is ahead belongs to a packet that does not wait.
    #[inline]
    pub fn put_other(&mut self, sequence: u32, now: Tick) {
        self.see(sequence, now);
        self.change(sequence, |slot| slot.fate = Fate::Other);
    }

    /// Takes the packet of a number away that is ahead.
    pub fn remove_data(&mut self, sequence: u32) {
        self.change(sequence, |slot| slot.data = NONE);
    }

    /// Takes the index of a number away, if it is ahead and this is its index.
    pub fn remove_index(&mut self, sequence: u32, index: u16) {
        if matches!(self.place(sequence), Place::Ahead(_)) && self.slot(sequence).index == index {
            self.change(sequence, |slot| slot.index = NONE);
        }
    }

    /// Whether the packet of a number waits, and its index at the place `index` too.
    pub fn is_complete_with(&self, sequence: u32, index: u16) -> bool {
        let slot = self.slot(sequence);
        matches!(self.place(sequence), Place::Ahead(_)) && slot.index == index && slot.data != NONE
    }

    /// Settles the next number, if it can be; numbers that nothing waits under are passed over.
    #[inline]
    pub fn settle(&mut self, now: Tick) -> Head {
        loop {
            let slot = self.slot(self.next);
            let given_up = distance(self.next, self.floor) > 0;
            let held = slot.data != NONE || slot.index != NONE;
            if slot.fate == Fate::Other {
                self.step(Fate::Other, now);
                if held {
                    return Head::GivenUp(slot);
                }
            } else if slot.data != NONE && slot.index != NONE {
                self.step(Fate::Delivered, now);
                return Head::Ready(slot);
            } else if !given_up {
                return Head::Blocked;
            } else if self.is_empty() && distance(self.next, self.floor) >= i64::from(AHEAD) {
                let (floor, highest, heard) = (self.floor, self.highest, self.heard);
                self.begin(floor, heard);
                self.highest = if distance(floor, highest) >= 0 { highest } else { self.highest };
            } else {
                self.step(Fate::GivenUp, now);
                if held {
                    return Head::GivenUp(slot);
                }
            }
        }
    }

    /// Settles the next number.
    #[inline]
    fn step(&mut self, fate: Fate, now: Tick) {
        self.change(self.next, |slot| *slot = Slot { fate, ..EMPTY });
        self.next = self.next.wrapping_add(1);
        if let Some(slot) = self.slots.get_mut(at(self.next.wrapping_add(AHEAD - 1))) {
            *slot = EMPTY;
        }
        if distance(self.floor, self.next) > 0 {
            self.floor = self.next;
        }
        self.gap_since = (distance(self.next, self.highest) >= 0).then_some(now);
    }

    #[inline]
    fn see(&mut self, sequence: u32, now: Tick) {
        if distance(self.highest, sequence) > 0 {
            self.highest = sequence;
        }
        if distance(self.next, sequence) > 0 {
            self.gap_since.get_or_insert(now);
        }
    }

    /// Changes a slot and counts what waits in it.
    #[inline]
    fn change(&mut self, sequence: u32, change: impl FnOnce(&mut Slot)) {
        let held = |slot: &Slot| u16::from(slot.data != NONE) + u16::from(slot.index != NONE);
        if let Some(slot) = self.slots.get_mut(at(sequence)) {
            let before = held(slot);
            change(slot);
            self.waiting = self.waiting + held(slot) - before;
        }
    }
}

#[inline(always)]
fn at(sequence: u32) -> usize {
    sequence as usize % SLOTS
}
