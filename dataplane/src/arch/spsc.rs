//! A bounded ring from one thread to one other.
//!
//! The producer writes slots and publishes them together, the consumer takes what is published and gives the slots back
//! together: a batch costs each side one store that the other waits for, and no read-modify-write (Lamport 1983; the
//! remembered index of the other side is FastForward's and MCRingBuffer's idea, Lee et al. 2010). Each side closes the ring
//! by being dropped; what then is left goes with the ring.

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, publish_order};

/// What both sides share. Indices count items, wrap around at the end of `usize`, and are reduced to a slot by a mask.
struct Ring<T> {
    /// A power of two. Those from `head` to `tail` hold items.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Where the consumer takes next: slots before it are the producer's. Stored by the consumer.
    head: CachePadded<AtomicUsize>,
    /// Slots before it are the consumer's. Stored by the producer.
    tail: CachePadded<AtomicUsize>,
    /// There will be no more.
    closed: AtomicBool,
}

// SAFETY: items move from one thread to another through it, and no reference to an item is ever given out.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: a slot is the producer's or the consumer's, never both's: the indices say whose, and each is stored by one side
// with release order after its last access to the slots it gives away, and loaded by the other with acquire order before its
// first access to them.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The side that puts items in.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// The next slot to write.
    next: usize,
    /// What the consumer knows of: `tail`.
    published: usize,
    /// `head` as it was when last looked at.
    head: usize,
}

/// The side that takes items out, in the order they were put in.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// The next slot to take: `head`.
    next: usize,
    /// `tail` as it was when last looked at.
    tail: usize,
}

/// A ring that holds `capacity` items, rounded up to a power of two, by its two sides.
pub fn spsc<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect();
    let ring = Arc::new(Ring {
        slots,
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        closed: AtomicBool::new(false),
    });
    let producer = Producer { ring: Arc::clone(&ring), next: 0, published: 0, head: 0 };
    (producer, Consumer { ring, next: 0, tail: 0 })
}

impl<T> Ring<T> {
    /// The slot of an index: there is one, as the mask is one less than their number.
    #[inline(always)]
    fn slot(&self, index: usize) -> Option<&UnsafeCell<MaybeUninit<T>>> {
        self.slots.get(index & (self.slots.len() - 1))
    }

    /// Takes the item at an index out.
    ///
    /// # Safety
    /// The slot holds an item and is the caller's; from here on it holds none.
    #[inline(always)]
    unsafe fn take(&self, index: usize) -> Option<T> {
        let slot = self.slot(index)?;
        // SAFETY: an item is there, nobody else is at it, and it is not read again, says the caller.
        Some(slot.with_mut(|slot| unsafe { slot.cast::<T>().read() }))
    }
}

impl<T> Producer<T> {
    /// Puts an item in, which the consumer does not see yet.
    ///
    /// # Errors
    /// Gives the item back where the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let capacity = self.ring.slots.len();
        if self.next.wrapping_sub(self.head) == capacity {
            // Acquire: the consumer has done with the slots before it.
            self.head = self.ring.head.load(Ordering::Acquire);
            if self.next.wrapping_sub(self.head) == capacity {
                return Err(item);
            }
        }
        let Some(slot) = self.ring.slot(self.next) else { return Err(item) };
        // SAFETY: less than `capacity` ahead of `head` and not before `tail`: an empty slot of this side.
        slot.with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
        self.next = self.next.wrapping_add(1);
        Ok(())
    }

    /// Items that the consumer does not see yet.
    #[inline(always)]
    pub fn unpublished(&self) -> usize {
        self.next.wrapping_sub(self.published)
    }

    /// Shows the consumer what was put in; false where there was nothing new.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let is_news = self.next != self.published;
        if is_news {
            self.ring.tail.store(self.next, publish_order());
            self.published = self.next;
        }
        is_news
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.publish();
        // Release: who sees this sees the last items.
        self.ring.closed.store(true, Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// Moves the oldest items to `batch`, as many as fit, and returns how many.
    #[inline]
    pub fn fill<const N: usize>(&mut self, batch: &mut ArrayVec<T, N>) -> usize {
        let before = batch.len();
        while !batch.is_full() {
            let Some(item) = self.take() else { break };
            batch.push(item);
        }
        let count = batch.len() - before;
        if count > 0 {
            self.ring.head.store(self.next, publish_order());
        }
        count
    }

    /// Takes the next item out. Its slot is not given back yet.
    #[inline(always)]
    fn take(&mut self) -> Option<T> {
        if self.next == self.tail {
            // Acquire: the items before it are whole.
            self.tail = self.ring.tail.load(Ordering::Acquire);
            if self.next == self.tail {
                return None;
            }
        }
        // SAFETY: between `head` and `tail` slots hold items and are this side's; the index moves on, so once only.
        let item = unsafe { self.ring.take(self.next) };
        self.next = self.next.wrapping_add(1);
        item
    }

    /// Whether nothing is in it, and nothing will be.
    pub fn is_finished(&self) -> bool {
        // In this order: what was published before the end is seen with it.
        self.ring.closed.load(Ordering::Acquire) && self.ring.tail.load(Ordering::Acquire) == self.next
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Both sides are gone, and what they did is visible here: each gave up its share of the ring. The producer published
        // all, and the consumer gave back what it took.
        let mut at = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed);
        while at != tail {
            // SAFETY: from `head` to `tail` slots hold items, and nobody else is there any more.
            drop(unsafe { self.take(at) });
            at = at.wrapping_add(1);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn drained<T>(consumer: &mut Consumer<T>) -> Vec<T> {
        let mut batch = ArrayVec::<T, 64>::new();
        consumer.fill(&mut batch);
        batch.into_iter().collect()
    }

    #[test]
    fn what_is_not_published_is_not_seen() {
        let (mut producer, mut consumer) = spsc(8);
        producer.push(1).expect("room");
        assert_eq!((producer.unpublished(), drained(&mut consumer)), (1, vec![]));
        assert!(producer.publish());
        assert!(!producer.publish(), "nothing is new");
        assert_eq!((producer.unpublished(), drained(&mut consumer)), (0, vec![1]));
    }

    #[test]
    fn a_full_ring_gives_back_what_it_has_no_room_for() {
        let (mut producer, mut consumer) = spsc(3);
        assert_eq!((0..5).map(|item| producer.push(item)).filter_map(Result::err).collect::<Vec<_>>(), [4]);
        producer.publish();
        assert_eq!(drained(&mut consumer), [0, 1, 2, 3]);
        assert_eq!(producer.push(9), Ok(()));
    }

    #[test]
    fn a_ring_is_finished_when_it_is_closed_and_empty() {
        let (mut producer, mut consumer) = spsc(4);
        producer.push(1).expect("room");
        assert!(!consumer.is_finished());
        drop(producer);
        assert!(!consumer.is_finished(), "the last item was not taken yet");
        assert_eq!(drained(&mut consumer), [1]);
        assert!(consumer.is_finished());
    }

    #[test]
    fn what_nobody_takes_goes_with_the_ring() {
        let item = Arc::new(());
        for consumer_first in [true, false] {
            let (mut producer, mut consumer) = spsc(4);
            for _ in 0..3 {
                producer.push(Arc::clone(&item)).expect("room");
            }
            producer.publish();
            let mut one = ArrayVec::<_, 1>::new();
            assert_eq!(consumer.fill(&mut one), 1);
            producer.push(Arc::clone(&item)).expect("room");
            assert_eq!(Arc::strong_count(&item), 5);
            if consumer_first {
                drop(consumer);
                drop(producer);
            } else {
                drop(producer);
                drop(consumer);
            }
            drop(one);
            assert_eq!(Arc::strong_count(&item), 1, "items were lost with the ring");
        }
    }

    #[test]
    fn two_threads_pass_every_item_in_order() {
        const ITEMS: u64 = 300_000;
        let (mut producer, mut consumer) = spsc::<Box<u64>>(64);
        let sending = std::thread::spawn(move || {
            for number in 0..ITEMS {
                let mut item = Box::new(number);
                while let Err(back) = producer.push(item) {
                    producer.publish();
                    std::thread::yield_now();
                    item = back;
                }
                if number % 7 == 0 {
                    producer.publish();
                }
            }
        });
        let mut expected = 0;
        let mut batch = ArrayVec::<Box<u64>, 32>::new();
        while !consumer.is_finished() {
            if consumer.fill(&mut batch) == 0 {
                std::thread::yield_now();
            }
            for item in batch.drain(..) {
                assert_eq!(*item, expected);
                expected += 1;
            }
        }
        assert_eq!(expected, ITEMS);
        sending.join().expect("the sender does not fail");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push,
        Publish,
        Take(usize),
    }

    proptest! {
        /// Against two queues: what is published, and what is not yet.
        #[test]
        fn it_is_a_queue_with_an_end_that_is_shown_later(
            capacity in 1usize..20,
            steps in prop::collection::vec(
                prop_oneof![4 => Just(Step::Push), 1 => Just(Step::Publish), 2 => (0usize..5).prop_map(Step::Take)],
                0..300,
            ),
        ) {
            let (mut producer, mut consumer) = spsc(capacity);
            let capacity = capacity.next_power_of_two();
            let (mut shown, mut hidden) = (VecDeque::new(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => {
                        let has_room = shown.len() + hidden.len() < capacity;
                        prop_assert_eq!(producer.push(number), if has_room { Ok(()) } else { Err(number) });
                        hidden.extend(has_room.then_some(number));
                    }
                    Step::Publish => {
                        prop_assert_eq!(producer.publish(), !hidden.is_empty());
                        shown.append(&mut hidden);
                    }
                    Step::Take(count) => {
                        let mut batch = ArrayVec::<usize, 5>::from_iter((count..5).map(|_| usize::MAX));
                        consumer.fill(&mut batch);
                        let took: Vec<_> = batch.into_iter().filter(|item| *item != usize::MAX).collect();
                        let expected: Vec<_> = shown.drain(..count.min(shown.len())).collect();
                        prop_assert_eq!(took, expected);
                    }
                }
                prop_assert_eq!(producer.unpublished(), hidden.len());
            }
        }
    }
}
