//! Publication by pointer, reclamation by quiescent states.
//!
//! The control thread publishes a value by swapping a pointer. A worker announces, once per iteration, that it holds
//! nothing from before ([`Reader::enter`]); a worker that is about to block says that it holds nothing at all
//! ([`Reader::offline`]). The writer frees a replaced value when every reader has done either since. This is the scheme
//! of user-space RCU's QSBR flavour (Desnoyers et al., "User-Level Implementations of Read-Copy Update", 2012): a
//! reader pays one load and a compare per iteration, however many look-ups it makes.

use std::cell::Cell;
use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::sync::{AtomicPtr, AtomicU64, Ordering, fence};

/// What a reader's slot holds while the reader holds no reference at all. Epochs start above it.
const OFFLINE: u64 = 0;

/// The readers and the epoch that they and the one writer agree on.
#[derive(Debug)]
pub struct Domain {
    epoch: CachePadded<AtomicU64>,
    /// The epoch each reader last entered a section in, or [`OFFLINE`].
    slots: Box<[CachePadded<AtomicU64>]>,
    /// How many slots have been claimed.
    claimed: AtomicU64,
}

impl Domain {
    /// A domain with room for `readers` readers, all offline.
    pub fn new(readers: usize) -> Arc<Domain> {
        Arc::new(Domain {
            epoch: CachePadded::new(AtomicU64::new(OFFLINE + 1)),
            slots: (0..readers).map(|_| CachePadded::new(AtomicU64::new(OFFLINE))).collect(),
            claimed: AtomicU64::new(0),
        })
    }

    /// Claims the next free reader slot; None when as many readers as the domain has room for were made already. The slot
    /// of one that is gone stays taken.
    pub fn reader(self: &Arc<Domain>) -> Option<Reader> {
        let slot = usize::try_from(self.claimed.fetch_add(1, Ordering::Relaxed)).ok()?;
        (slot < self.slots.len()).then(|| Reader { domain: Arc::clone(self), slot, note: Cell::new(0) })
    }

    /// Starts a new epoch and returns it. What was unpublished before this call is free to go once
    /// [`Domain::has_passed`] says so for the returned epoch.
    pub fn advance(&self) -> u64 {
        // SeqCst: orders the swap before this call against the reads of the slots after it (see `enter`).
        self.epoch.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Whether every reader has entered a section in `epoch` or later, or is offline.
    pub fn has_passed(&self, epoch: u64) -> bool {
        fence(Ordering::SeqCst);
        self.slots.iter().all(|slot| {
            let seen = slot.load(Ordering::Acquire);
            seen == OFFLINE || seen >= epoch
        })
    }
}

/// One reading thread's place in the domain.
#[derive(Debug)]
pub struct Reader {
    domain: Arc<Domain>,
    slot: usize,
    /// See [`Section::note`]. (A slot has one thread that stores to it: like this, the reader may move but not be shared.)
    note: Cell<u32>,
}

impl Reader {
    /// Announces that nothing obtained in an earlier section is held any more, and opens a new one.
    #[inline(always)]
    pub fn enter(&mut self) -> Section<'_> {
        // Acquire: having seen an epoch, this thread sees all that was published before it began.
        let epoch = self.domain.epoch.load(Ordering::Acquire);
        if let Some(slot) = self.domain.slots.get(self.slot) {
            let seen = slot.load(Ordering::Relaxed);
            if seen != epoch {
                // Release: all reads of the section before come before the writer's decision to free.
                slot.store(epoch, Ordering::Release);
                if seen == OFFLINE {
                    // The store must be visible before any pointer is loaded: the writer, which swaps the pointer and
                    // then reads the slots (also fenced), either sees this reader online or this reader sees the swap.
                    fence(Ordering::SeqCst);
                }
            }
        }
        Section { domain: &self.domain, epoch, note: &self.note }
    }

    /// Announces that this reader holds nothing and will not, until it enters a section again. Call before blocking.
    #[inline]
    pub fn offline(&mut self) {
        if let Some(slot) = self.domain.slots.get(self.slot) {
            slot.store(OFFLINE, Ordering::Release);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.offline();
    }
}

/// Proof that its thread is inside a section of a domain. What is read through it lives as long as it does: the
/// reader cannot announce a quiescent state while a section is borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct Section<'r> {
    domain: &'r Arc<Domain>,
    epoch: u64,
    note: &'r Cell<u32>,
}

impl<'r> Section<'r> {
    /// Whether it protects what is published in a domain.
    #[inline(always)]
    pub fn is_of(self, domain: &Arc<Domain>) -> bool {
        Arc::ptr_eq(self.domain, domain)
    }

    /// A word of the reading thread's own, zero at first, that outlasts the section: a table notes there which form of
    /// look-up suits the traffic it sees.
    #[inline(always)]
    pub fn note(self) -> &'r Cell<u32> {
        self.note
    }

    /// The epoch it was entered in. A value is seen from its publication on, which is a little before its epoch begins.
    #[inline(always)]
    pub fn epoch(self) -> u64 {
        self.epoch
    }
}

/// Where readers find a value.
#[derive(Debug)]
struct Place<T> {
    current: AtomicPtr<T>,
}

/// The reading end of a published value.
#[derive(Debug)]
pub struct Published<T> {
    domain: Arc<Domain>,
    place: Arc<Place<T>>,
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Published { domain: Arc::clone(&self.domain), place: Arc::clone(&self.place) }
    }
}

impl<T: Send + Sync> Published<T> {
    /// The value that is current now. None only where the section belongs to another domain.
    #[inline(always)]
    pub fn load<'s>(&'s self, section: Section<'s>) -> Option<&'s T> {
        if !section.is_of(&self.domain) {
            return None;
        }
        let current = self.place.current.load(Ordering::Acquire);
        // SAFETY: the pointer comes from a Box and is never null. The publisher frees a value only after every reader
        // of its domain has entered a section begun after the value was replaced, or gone offline. This section was
        // entered before this load and is still borrowed from its reader, so neither has happened to this value. When
        // the publisher itself goes it leaks the current value into its place, which this `Published` keeps alive.
        Some(unsafe { &*current })
    }
}

/// The one writing end of a published value.
#[derive(Debug)]
pub struct Publisher<T> {
    domain: Arc<Domain>,
    place: Arc<Place<T>>,
    /// Replaced values with the epoch that all readers must have reached before they go.
    retired: Vec<(u64, Box<T>)>,
}

/// Publishes `first` in `domain` and returns both ends.
pub fn publish<T: Send + Sync>(domain: &Arc<Domain>, first: T) -> (Publisher<T>, Published<T>) {
    let place = Arc::new(Place { current: AtomicPtr::new(Box::into_raw(Box::new(first))) });
    let published = Published { domain: Arc::clone(domain), place: Arc::clone(&place) };
    (Publisher { domain: Arc::clone(domain), place, retired: Vec::new() }, published)
}

impl<T: Send + Sync> Publisher<T> {
    /// Makes `value` current and returns the epoch from which on no reader sees the one before. A reader that blocks, offline,
    /// takes it up when it is woken: the caller wakes it.
    pub fn publish(&mut self, value: T) -> u64 {
        let old = self.place.current.swap(Box::into_raw(Box::new(value)), Ordering::SeqCst);
        let epoch = self.domain.advance();
        // SAFETY: `old` came from Box::into_raw here or in `publish`, and the swap gave it to this call alone.
        let old = unsafe { Box::from_raw(old) };
        self.retired.push((epoch, old));
        self.reclaim();
        epoch
    }

    /// Frees the replaced values that no reader can hold any more; returns how many still wait.
    pub fn reclaim(&mut self) -> usize {
        let domain = &self.domain;
        self.retired.retain(|(epoch, _)| !domain.has_passed(*epoch));
        self.retired.len()
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        // SAFETY: the last end is gone, so no section can lead here any more; the pointer came from Box::into_raw.
        drop(unsafe { Box::from_raw(self.current.load(Ordering::Relaxed)) });
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        for (epoch, value) in self.retired.drain(..) {
            if !self.domain.has_passed(epoch) {
                // A reader may still look at it, and nobody is left to wait for that reader: leaked, not freed.
                Box::leak(value);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    struct Counted(u64, Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_replaced_value_stays_until_its_reader_moves_on() {
        let freed = Arc::new(AtomicUsize::new(0));
        let domain = Domain::new(1);
        let (mut publisher, published) = publish(&domain, Counted(1, freed.clone()));
        let mut reader = domain.reader().expect("one slot");
        {
            let section = reader.enter();
            let value = published.load(section).expect("same domain");
            publisher.publish(Counted(2, freed.clone()));
            assert_eq!(freed.load(Ordering::SeqCst), 0, "freed while a reader held it");
            assert_eq!(value.0, 1);
        }
        let section = reader.enter();
        assert_eq!(published.load(section).expect("same domain").0, 2);
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(freed.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_offline_reader_holds_nothing_up() {
        let freed = Arc::new(AtomicUsize::new(0));
        let domain = Domain::new(2);
        let (mut publisher, _published) = publish(&domain, Counted(1, freed.clone()));
        let mut parked = domain.reader().expect("slot");
        let _ = parked.enter();
        parked.offline();
        publisher.publish(Counted(2, freed.clone()));
        assert_eq!(freed.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn there_are_only_as_many_readers_as_the_domain_has_room_for() {
        let domain = Domain::new(1);
        assert!(domain.reader().is_some());
        assert!(domain.reader().is_none());
    }

    #[test]
    fn a_section_of_another_domain_reads_nothing() {
        let (_publisher, published) = publish(&Domain::new(1), 7);
        let elsewhere = Domain::new(1);
        let mut reader = elsewhere.reader().expect("slot");
        assert!(published.load(reader.enter()).is_none());
    }

    #[test]
    fn readers_never_see_a_freed_value_under_constant_replacement() {
        const FREED: u64 = u64::MAX;
        struct Poisoned(AtomicU64);
        impl Drop for Poisoned {
            fn drop(&mut self) {
                self.0.store(FREED, Ordering::SeqCst);
            }
        }
        let domain = Domain::new(2);
        let (mut publisher, published) = publish(&domain, Poisoned(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (published, stop, mut reader) =
                    (published.clone(), stop.clone(), domain.reader().expect("two slots"));
                std::thread::spawn(move || {
                    let (mut last, mut rounds) = (0, 0u64);
                    while !stop.load(Ordering::Relaxed) {
                        let section = reader.enter();
                        let value = published.load(section).expect("same domain").0.load(Ordering::SeqCst);
                        assert_ne!(value, FREED, "a reader saw a freed value");
                        assert!(value >= last, "an older value came back");
                        last = value;
                        rounds += 1;
                        if rounds % 64 == 0 {
                            reader.offline();
                        }
                    }
                })
            })
            .collect();
        for value in 1..20_000 {
            publisher.publish(Poisoned(AtomicU64::new(value)));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("no reader failed");
        }
        assert_eq!(publisher.reclaim(), 0);
    }
}
