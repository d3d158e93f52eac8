//! Which pool the last packet joined that asked the same: same path, rule, class, bucket and link.
//!
//! What a packet asks decides which pool it joins and with which TTL: whatever it is decided by does not change before all
//! pools were flushed. So the answer is kept as long as nothing else opens where that pool was, and most packets need not have
//! it worked out again. A table of fixed size: what is displaced is worked out.

use super::open_pools::Slot;
use super::rule::RuleIndex;
use crate::arch::lanes::{Form, Lanes};
use crate::fib::PathIndex;

/// Sets of answers; a power of two. There are more places than pools are open in a busy router.
const SETS: usize = 1024;
/// Answers in a set.
const WAYS: usize = 4;

/// The bit of a question that IPv6 packets have.
const IPV6: u64 = 1 << 7;

/// What decides which pool a packet joins, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question(u64);

impl Question {
    /// What no packet asks.
    pub const NONE: Question = Question(u64::MAX);

    /// Of a packet of this family on this path, with these bits of DSCP and ECN, that `rule` selected and that is in this flow bucket, below
    /// [`MAX_BUCKETS`](super::packet_pooler::MAX_BUCKETS); `mtu` is that of the link it leaves by.
    #[inline(always)]
    pub fn new(path: PathIndex, rule: RuleIndex, tos: u8, (bucket, is_ipv6): (u8, bool), mtu: u16) -> Question {
        let word = u64::from(path.0) << 48
            | u64::from(rule.0) << 32
            | u64::from(mtu) << 16
            | u64::from(tos) << 8
            | if is_ipv6 { IPV6 } else { 0 }
            | u64::from(bucket & 0x7f);
        Question(word)
    }

    /// The lower and the upper words of what IPv4 packets ask that leave by ways with these words; else as [`Question::new`].
    #[inline(always)]
    pub(super) fn of_lanes<F: Form>(
        form: F,
        [lower, upper]: [F::Lanes; 2],
        rule: F::Lanes,
        tos: F::Lanes,
        bucket: F::Lanes,
    ) -> [F::Lanes; 2] {
        [lower & form.splat(0xffff_0000) | tos.shl::<8>() | bucket, upper | rule]
    }

    /// Of its word.
    #[inline(always)]
    pub(super) fn of_word(word: u64) -> Question {
        Question(word)
    }

    /// Its word.
    #[inline(always)]
    pub(super) fn word(self) -> u64 {
        self.0
    }

    /// Whether who asks is an IPv6 packet.
    #[inline(always)]
    pub(super) fn is_ipv6(self) -> bool {
        self.0 & IPV6 != 0
    }

    /// DSCP and ECN of who asks.
    #[inline(always)]
    pub(super) fn tos(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    fn place(self) -> usize {
        // The upper half is folded in first: of a product the upper bits are good, and those depend on what is below them.
        let folded = self.0 ^ self.0 >> 32;
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SETS.trailing_zeros())) as usize % SETS
    }
}

/// What packets ask in common that leave by the same way, in one word: where it is in a [`Question`], and below it two flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way(u64);

impl Way {
    /// That of a packet of which nothing is known.
    pub const UNKNOWN: Way = Way(0);
    const KNOWN: u64 = 1;
    const POOLS: u64 = 2;

    /// By a link that takes packets of `mtu` bytes, on a path that they can be pooled on if there is one.
    #[inline(always)]
    pub fn new(path: Option<PathIndex>, mtu: u16) -> Way {
        let path = path.map_or(0, |path| u64::from(path.0) << 48 | Way::POOLS);
        Way(path | u64::from(mtu) << 16 | Way::KNOWN)
    }

    /// Its word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The upper bit of each: whether the way with this lower word is known.
    #[inline(always)]
    pub(super) fn known<L: Lanes>(lower: L) -> L {
        lower.shl::<31>()
    }

    /// The upper bit of each: whether packets that take it can be pooled.
    #[inline(always)]
    pub(super) fn pools<L: Lanes>(lower: L) -> L {
        lower.shl::<30>()
    }
}

/// An opening of a pool by a decision: no two have the same, in any slot, as long as a worker lives (2^48 of them). A pool that
/// [opens again](super::pool_buffer::PoolBuffer::open_again) has that which it had. The default is that of a slot where no pool
/// was open yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opening(u64);

impl Opening {
    /// The first of all, in a slot.
    pub(super) const fn first() -> Opening {
        Opening(1 << 16)
    }

    /// The next one, in `slot`.
    #[inline(always)]
    pub(super) fn next(self, slot: Slot) -> Opening {
        Opening((self.0 | 0xffff).wrapping_add(1) | u64::from(slot.number()))
    }

    /// Where it was.
    #[inline(always)]
    pub(super) fn slot(self) -> Slot {
        Slot::from_number(self.0 as u16)
    }
}

#[derive(Clone, Copy)]
struct Answer {
    question: Question,
    opening: Opening,
    ttl: u8,
}

impl Answer {
    /// To what no packet asks.
    const NONE: Answer = Answer { question: Question::NONE, opening: Opening(0), ttl: 0 };
}

/// The answers of one worker's pooler: in each set the one that was kept last is the first.
pub(super) struct Shortcuts(Box<[[Answer; WAYS]; SETS]>);

impl Shortcuts {
    /// No answer.
    pub(super) fn new() -> Shortcuts {
        Shortcuts(Box::new([[Answer::NONE; WAYS]; SETS]))
    }

    /// Forgets all answers.
    pub(super) fn forget(&mut self) {
        self.0.fill([Answer::NONE; WAYS]);
    }

    /// Which pool such packets joined, and the TTL of their rows. It may not be open any more.
    #[inline(always)]
    pub(super) fn find(&self, question: Question) -> Option<(Opening, u8)> {
        let answer = self.0.get(question.place())?.iter().find(|answer| answer.question == question)?;
        Some((answer.opening, answer.ttl))
    }

    /// Keeps the answer.
    #[inline]
    pub(super) fn remember(&mut self, question: Question, opening: Opening, ttl: u8) {
        let Some(set) = self.0.get_mut(question.place()) else { return };
        let known = set.iter().position(|answer| answer.question == question).unwrap_or(WAYS - 1);
        set.copy_within(..known.min(WAYS - 1), 1);
        if let Some(first) = set.first_mut() {
            *first = Answer { question, opening, ttl };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(path: u16, tos: u8) -> Question {
        Question::new(PathIndex(path), RuleIndex(0), tos, (0, false), 1500)
    }

    #[test]
    fn what_was_not_asked_has_no_answer() {
        let mut shortcuts = Shortcuts::new();
        assert_eq!(shortcuts.find(Question(0)), None, "an empty table knows nothing");
        let opening = Opening::first().next(Slot::from_number(7));
        shortcuts.remember(question(1, 0), opening, 3);
        assert_eq!(shortcuts.find(question(1, 0)), Some((opening, 3)));
        for other in [question(2, 0), question(1, 1)] {
            assert_eq!(shortcuts.find(other), None);
        }
    }

    #[test]
    fn everything_that_is_asked_is_in_the_question() {
        let ask = |path, rule, tos, bucket, is_ipv6, mtu| {
            Question::new(PathIndex(path), RuleIndex(rule), tos, (bucket, is_ipv6), mtu)
        };
        let questions = [
            ask(0, 0, 0, 0, false, 0),
            ask(u16::MAX, 0, 0, 0, false, 0),
            ask(0, u16::MAX, 0, 0, false, 0),
            ask(0, 0, u8::MAX, 0, false, 0),
            ask(0, 0, 0, 63, false, 0),
            ask(0, 0, 0, 0, true, 0),
            ask(0, 0, 0, 0, false, u16::MAX),
        ];
        for (at, question) in questions.iter().enumerate() {
            assert!(!questions[..at].contains(question), "{at}");
        }
    }

    /// As many paths as there are pools open in a busy router, and whatever else a question differs by.
    #[test]
    fn nearly_all_answers_to_a_thousand_questions_are_kept() {
        let kept = |count: u16, differ: &dyn Fn(u16) -> Question| {
            let mut shortcuts = Shortcuts::new();
            (0..count).for_each(|number| shortcuts.remember(differ(number), Opening::first(), number as u8));
            (0..count)
                .filter(|number| shortcuts.find(differ(*number)) == Some((Opening::first(), *number as u8)))
                .count()
        };
        assert!(kept(1000, &|path| question(path, 0)) > 980);
        assert!(kept(1000, &|rule| Question::new(PathIndex(0), RuleIndex(rule), 0, (0, false), 1500)) > 980);
        assert!(kept(1000, &|number| question(number / 4, (number % 4) as u8 * 8)) > 980);
        assert!(
            kept(1000, &|number| Question::new(
                PathIndex(number / 64),
                RuleIndex(0),
                0,
                (number as u8 % 64, false),
                1500
            )) > 980
        );
        assert_eq!(kept(256, &|tos| question(0, tos as u8)), 256);
    }

    #[test]
    fn what_was_kept_last_stays_longest_and_once() {
        let mut shortcuts = Shortcuts::new();
        let place = question(0, 0).place();
        let same: Vec<Question> =
            (0..u16::MAX).map(|path| question(path, 0)).filter(|other| other.place() == place).collect();
        for question in &same[..WAYS] {
            shortcuts.remember(*question, Opening::first(), 1);
        }
        shortcuts.remember(same[0], Opening::first(), 2);
        shortcuts.remember(same[WAYS], Opening::first(), 1);
        assert_eq!(shortcuts.find(same[0]), Some((Opening::first(), 2)));
        assert_eq!(shortcuts.find(same[1]), None, "the one that was kept first");
        assert!(same[2..=WAYS].iter().all(|question| shortcuts.find(*question).is_some()));
    }

    #[test]
    fn no_two_openings_are_the_same() {
        let first = Opening::first();
        let (second, third) = (first.next(Slot::from_number(u16::MAX)), first.next(Slot::from_number(0)));
        let fourth = second.next(Slot::from_number(3));
        assert_eq!((second.slot().number(), third.slot().number(), fourth.slot().number()), (u16::MAX, 0, 3));
        assert!(first != second && second != third && fourth != second && fourth != Opening::default());
    }
}
