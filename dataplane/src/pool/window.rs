//! The pooling windows of the open pools, in order of deadline.
//!
//! All pools of one window length end in the order they began, so there is one first-in first-out queue for each
//! distinct window, and only the heads are looked at. Opening, closing and finding the next due pool cost the same
//! however many pools are open. Called by the packet pooler alone.

use super::open_pools::Slot;
use crate::arch::{Tick, TickSpan};

/// The most different windows that pools can have at one time.
pub const MAX_WINDOWS: usize = 16;

/// No pool: the end of a queue.
const NONE: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Queue {
    window: TickSpan,
    head: u16,
    tail: u16,
}

#[derive(Clone, Copy)]
struct Link {
    deadline: Tick,
    next: u16,
    previous: u16,
    queue: u8,
}

/// One queue of pools per distinct window.
pub(super) struct WindowQueues {
    queues: [Queue; MAX_WINDOWS],
    /// Bit i: queue i has pools. A queue without any takes up whatever window is needed next.
    busy: u16,
    /// The queue that was pushed to last: no other has its window.
    last: usize,
    /// One per pool slot: its neighbours in the queue.
    links: Box<[Link]>,
}

impl WindowQueues {
    /// Queues for pools in slots 0 to `slots` - 1.
    pub(super) fn new(slots: u16) -> WindowQueues {
        let link = Link { deadline: Tick(0), next: NONE, previous: NONE, queue: 0 };
        WindowQueues {
            queues: [Queue { window: TickSpan(0), head: NONE, tail: NONE }; MAX_WINDOWS],
            busy: 0,
            last: 0,
            links: vec![link; usize::from(slots)].into(),
        }
    }

    /// Starts the window of the pool in `slot`, which is in no queue, at `from`: hardly ever before that of an earlier
    /// call, as its place is looked for from the end. False, and nothing changes, where `MAX_WINDOWS` other windows are
    /// in use.
    pub(super) fn push(&mut self, slot: Slot, window: TickSpan, from: Tick) -> bool {
        let Some(index) = self.queue_of(window) else { return false };
        let Some(queue) = self.queues.get_mut(index) else { return false };
        if slot.index() >= self.links.len() {
            return false;
        }
        let deadline = from + window;
        let mut previous = queue.tail;
        while let Some(later) = self.links.get(usize::from(previous)).filter(|link| link.deadline > deadline) {
            previous = later.previous;
        }
        let next = match self.links.get_mut(usize::from(previous)) {
            Some(before) => std::mem::replace(&mut before.next, slot.number()),
            None => std::mem::replace(&mut queue.head, slot.number()),
        };
        match self.links.get_mut(usize::from(next)) {
            Some(behind) => behind.previous = slot.number(),
            None => queue.tail = slot.number(),
        }
        if let Some(link) = self.links.get_mut(slot.index()) {
            *link = Link { deadline, next, previous, queue: index as u8 };
        }
        queue.window = window;
        self.last = index;
        self.busy |= 1 << index;
        true
    }

    /// Whether a window of this length can be started.
    #[inline(always)]
    pub(super) fn has_room(&self, window: TickSpan) -> bool {
        self.queue_of(window).is_some()
    }

    /// Takes the pool in `slot` out of its queue, in which it must be.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some(link) = self.links.get(slot.index()).copied() else { return };
        let Some(queue) = self.queues.get_mut(usize::from(link.queue)) else { return };
        match self.links.get_mut(usize::from(link.previous)) {
            Some(previous) => previous.next = link.next,
            None => queue.head = link.next,
        }
        match self.links.get_mut(usize::from(link.next)) {
            Some(next) => next.previous = link.previous,
            None => queue.tail = link.previous,
        }
        if queue.head == NONE {
            self.busy &= !(1 << link.queue);
        }
    }

    /// A pool whose window has ended at `now`; in each queue the oldest first.
    #[inline]
    pub(super) fn due(&self, now: Tick) -> Option<Slot> {
        self.heads().find(|&(_, deadline)| deadline <= now).map(|(slot, _)| slot)
    }

    /// Any pool.
    pub(super) fn any(&self) -> Option<Slot> {
        self.heads().next().map(|(slot, _)| slot)
    }

    /// When the next window ends.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<Tick> {
        self.heads().map(|(_, deadline)| deadline).min()
    }

    /// When the window of the pool in `slot` ends, which must be in a queue.
    pub(super) fn deadline(&self, slot: Slot) -> Option<Tick> {
        self.links.get(slot.index()).map(|link| link.deadline)
    }

    /// The oldest pool of each queue that has pools.
    #[inline]
    fn heads(&self) -> impl Iterator<Item = (Slot, Tick)> + '_ {
        let mut left = self.busy;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            let head = self.queues.get(index)?.head;
            let link = self.links.get(usize::from(head))?;
            Some((Slot::from_number(head), link.deadline))
        })
    }

    #[inline(always)]
    fn queue_of(&self, window: TickSpan) -> Option<usize> {
        match self.queues.get(self.last) {
            Some(queue) if queue.window == window => Some(self.last),
            _ => self.other_queue_of(window),
        }
    }

    #[inline(never)]
    fn other_queue_of(&self, window: TickSpan) -> Option<usize> {
        let is_busy = |index: usize| self.busy >> index & 1 == 1;
        let same = self.queues.iter().enumerate().find(|&(index, queue)| is_busy(index) && queue.window == window);
        match same {
            Some((index, _)) => Some(index),
            None => (0..MAX_WINDOWS).find(|&index| !is_busy(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOTS: u16 = 24;

    #[test]
    fn one_window_more_than_there_are_queues_is_refused_until_a_queue_runs_empty() {
        let mut queues = WindowQueues::new(SLOTS);
        for number in 0..16 {
            assert!(queues.push(Slot::from_number(number), TickSpan(u64::from(number)), Tick(100)));
        }
        assert!(!queues.push(Slot::from_number(16), TickSpan(99), Tick(100)));
        assert!(queues.push(Slot::from_number(16), TickSpan(3), Tick(100)));
        queues.remove(Slot::from_number(5));
        assert!(queues.push(Slot::from_number(17), TickSpan(99), Tick(100)));
        assert_eq!(queues.deadline(Slot::from_number(17)), Some(Tick(199)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { slot: u16, window: u64 },
        Remove { slot: u16 },
        Wait(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..SLOTS, 0u64..20).prop_map(|(slot, window)| Step::Push { slot, window }),
            (0..SLOTS).prop_map(|slot| Step::Remove { slot }),
            (0u64..15).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against a plain list of deadlines.
        #[test]
        fn what_is_due_is_what_a_list_of_deadlines_says(steps in proptest::collection::vec(any_step(), 0..200)) {
            let mut queues = WindowQueues::new(SLOTS);
            let mut model: Vec<(u16, u64, u64)> = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Push { slot, window } => {
                        if model.iter().any(|pool| pool.0 == slot) {
                            continue;
                        }
                        let mut windows: Vec<u64> = model.iter().map(|pool| pool.1).chain([window]).collect();
                        windows.sort_unstable();
                        windows.dedup();
                        let pushed = queues.push(Slot::from_number(slot), TickSpan(window), Tick(now));
                        prop_assert_eq!(pushed, windows.len() <= MAX_WINDOWS);
                        if pushed {
                            model.push((slot, window, now + window));
                        }
                    }
                    Step::Remove { slot } => {
                        if let Some(at) = model.iter().position(|pool| pool.0 == slot) {
                            model.remove(at);
                            queues.remove(Slot::from_number(slot));
                        }
                    }
                    Step::Wait(span) => {
                        now += span;
                        let mut due: Vec<u16> = model.iter().filter(|pool| pool.2 <= now).map(|pool| pool.0).collect();
                        model.retain(|pool| pool.2 > now);
                        let mut found = Vec::new();
                        while let Some(slot) = queues.due(Tick(now)) {
                            queues.remove(slot);
                            found.push(slot.number());
                        }
                        due.sort_unstable();
                        found.sort_unstable();
                        prop_assert_eq!(found, due);
                    }
                }
                let next = model.iter().map(|pool| Tick(pool.2)).min();
                prop_assert_eq!(queues.next_deadline(), next);
                prop_assert_eq!(queues.any().is_none(), model.is_empty());
            }
        }
    }
}
