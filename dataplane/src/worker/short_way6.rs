//! The short way of plain IPv6 packets to next hops that are remembered: those that are only forwarded, and those that board
//! pools.

use arrayvec::ArrayVec;

use crate::dpdk::{BURST, Mbuf, Nic};
use crate::fib::EntryId;
use crate::packet::ethernet::HEADER_LEN;
use crate::packet::ipv6::HOP_LIMIT_AT;
use crate::pool::Plain6;

use super::counters::Counter;
use super::drop::Drop;
use super::hop_cache::Hop;
use super::ip6_input::Ipv6Burst;
use super::moment::Moment;
use super::pooling::{Look, Looks};
use super::stages::Stages;
use super::stopwatch::Stage;

impl<N: Nic> Stages<N> {
    /// Sends the packets that came before the IPv4 packet at `position` the way each needs: the short way where nothing in its
    /// header needs a closer look, nothing waits that it could overtake, and a way is remembered that takes it.
    #[inline(always)]
    pub(super) fn send_each6(&mut self, packets: &mut Ipv6Burst, position: usize, depth: u8, moment: &Moment<'_>) {
        let due = packets.due(position);
        if due == 0 {
        } else if self.is_only_forwarding() {
            self.forward_each6(packets, due, depth, moment);
        } else {
            self.pool_or_forward_each6(packets, due, depth, moment);
        }
    }

    /// Forwards a burst of frames that hold plain packets with these leaves, where nothing is pooled and all their ways are remembered.
    /// False, and nothing has changed, where something else is to be known of one of them.
    #[inline(always)]
    pub(super) fn forward_burst6(&mut self, frames: &mut ArrayVec<Mbuf, BURST>, leaves: &[EntryId]) -> bool {
        let Some((first, others)) = leaves.split_first().filter(|_| self.is_only_forwarding()) else { return false };
        self.out.stopwatch.enter(Stage::Forward);
        let count = frames.len();
        let hop = self.hops.at6(*first);
        if others.iter().fold(0, |differ, other| differ | (other.0 ^ first.0)) == 0 {
            let longest = frames.iter().map(Mbuf::len).max().unwrap_or(0);
            if !self.hops.is_of(hop, *first) || longest > longest_frame(hop) {
                return false;
            }
            frames.iter_mut().for_each(|frame| write_start(frame, hop));
            self.out.queue_first(frames, count, usize::from(hop.at));
        } else {
            let ways = || leaves.iter().map(|leaf| (*leaf, self.hops.at6(*leaf)));
            let takes = |(frame, (leaf, hop)): (&Mbuf, (EntryId, &Hop))| {
                self.hops.is_of(hop, leaf) && frame.len() <= longest_frame(hop)
            };
            if !frames.iter().zip(ways()).all(takes) {
                return false;
            }
            for (mut frame, leaf) in frames.drain(..).zip(leaves) {
                let hop = self.hops.at6(*leaf);
                write_start(&mut frame, hop);
                self.out.queue_at(frame, usize::from(hop.at));
            }
        }
        self.out.counters.add(Counter::Forwarded, count as u64);
        true
    }

    #[inline(never)]
    fn forward_each6(&mut self, packets: &mut Ipv6Burst, mut due: usize, depth: u8, moment: &Moment<'_>) {
        let mut run = ArrayVec::<Mbuf, BURST>::new();
        let mut goes_on = self.reentry.waiting(depth) == 0;
        while due > 0 {
            let (leaf, alike) = packets.alike(due);
            let hop = self.hops.at6(leaf);
            let mut long = None;
            if goes_on && alike > 0 && self.hops.is_of(hop, leaf) {
                for _ in 0..alike {
                    let Some((mut frame, origin)) = packets.take() else { break };
                    due -= 1;
                    if write(&mut frame, hop).is_none() {
                        frame.trim_front(HEADER_LEN);
                        long = Some((frame, origin));
                        break;
                    }
                    run.push(frame);
                }
                self.out.counters.add(Counter::Forwarded, run.len() as u64);
                let count = run.len();
                self.out.queue_first(&mut run, count, usize::from(hop.at));
                if long.is_none() {
                    continue;
                }
            } else {
                long = packets.take_uncovered();
                due -= 1;
            }
            let Some((mbuf, origin)) = long else { break };
            self.send_long6(mbuf, origin, leaf, depth, moment);
            goes_on = self.is_only_forwarding() && self.reentry.waiting(depth) == 0;
        }
    }

    /// The same where packets may be pooled, or overtake what is: all are looked at before any of them goes on.
    #[inline(never)]
    fn pool_or_forward_each6(&mut self, packets: &mut Ipv6Burst, due: usize, depth: u8, moment: &Moment<'_>) {
        self.out.stopwatch.enter(Stage::Pool);
        let mut looks = Looks::none();
        self.look_at6(packets, due, moment, &mut looks);
        self.out.stopwatch.enter(Stage::Forward);
        let (first, mut forwarded) = (packets.gone(), 0);
        let mut none_waits = self.reentry.waiting(depth) == 0;
        while packets.gone() < first + due {
            let long = match looks.at(packets.gone() - first) {
                look @ (Look::Boards(_) | Look::Crowd(_)) if none_waits => {
                    let mut waiting = std::iter::from_fn(|| packets.take());
                    let (aboard, left) = match look {
                        Look::Crowd(crowd) => self.board_crowd(&mut waiting, &crowd, moment),
                        Look::Boards(queue) => self.board(&mut waiting, &queue, moment),
                        Look::Free { .. } | Look::Undecided => (0, None),
                    };
                    forwarded += aboard;
                    match left {
                        None if aboard > 0 => continue,
                        left => left,
                    }
                }
                Look::Free { flow, too_large } if none_waits && !self.pooler.may_overtake(flow) => {
                    let hop = self.hops.at6(packets.leaf());
                    // What took the long way may have had another remembered in its place.
                    if self.hops.is_of(hop, packets.leaf())
                        && let Some((mut frame, _)) = packets.take()
                    {
                        forwarded += 1;
                        self.out.counters.add(Counter::PoolTooLarge, u64::from(too_large));
                        // The way takes it: that was looked at.
                        match write(&mut frame, hop) {
                            Some(()) => self.out.queue_at(frame, usize::from(hop.at)),
                            None => self.out.drop(frame, Drop::FragmentationNeeded),
                        }
                        continue;
                    }
                    None
                }
                Look::Boards(_) | Look::Crowd(_) | Look::Free { .. } | Look::Undecided => None,
            };
            let Some((mbuf, origin)) = long.or_else(|| packets.take_uncovered()) else { break };
            self.send_long6(mbuf, origin, packets.leaf_taken(), depth, moment);
            none_waits = self.reentry.waiting(depth) == 0;
        }
        self.out.counters.add(Counter::Forwarded, forwarded as u64);
    }

    /// Looks at the next `due` packets. What is seen of those whose ways are remembered goes to `looks`.
    #[inline(always)]
    fn look_at6(&self, packets: &Ipv6Burst, due: usize, moment: &Moment<'_>, looks: &mut Looks) {
        let plain = packets.plain().take(due).map(|(leaf, frame)| {
            let (hop, frame) = (self.hops.at6(leaf), frame?);
            let start = frame.bytes().get(HEADER_LEN..)?.first_chunk()?;
            self.hops.is_of(hop, leaf).then_some(Plain6 { start, path: hop.path, mtu: hop.mtu })
        });
        looks.look_at6(plain, &moment.state.rules, self.seed, self.pooler.limits().buckets);
        self.bring_closer(looks);
    }
}

/// The same as [`write_start`]. None, and nothing has changed, where the way does not take the frame.
#[inline(always)]
fn write(frame: &mut Mbuf, hop: &Hop) -> Option<()> {
    if frame.len() > longest_frame(hop) {
        return None;
    }
    write_start(frame, hop);
    Some(())
}

/// The longest frame that takes a way, in bytes.
#[inline(always)]
fn longest_frame(hop: &Hop) -> usize {
    usize::from(hop.mtu) + HEADER_LEN
}

/// Makes the frame of a plain packet one to this hop, and counts the packet's hop limit down, which is above 1.
#[inline(always)]
fn write_start(frame: &mut Mbuf, hop: &Hop) {
    if let Some(start) = frame.start_mut::<{ HEADER_LEN + HOP_LIMIT_AT + 1 }>()
        && let Some((header, [.., hop_limit])) = start.split_first_chunk_mut::<HEADER_LEN>()
    {
        *header = hop.frame;
        *hop_limit = hop_limit.wrapping_sub(1);
    }
}
