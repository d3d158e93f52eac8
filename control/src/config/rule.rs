//! Pooling rules as they are told, in the file and over the control socket alike: their bounds, their defaults, and which of
//! their criteria contradict each other.

use std::ops::RangeInclusive;
use std::time::Duration;

use carpool_dataplane::pool::learned::LONGEST_WAIT;
use carpool_dataplane::pool::path::SharedHops;
use carpool_dataplane::pool::wire::TemplateId;
use carpool_dataplane::pool::{Lone, Match, Representation};

use super::{DEFAULT_PEER_MTU, POOL_OVERHEAD};
use crate::api::quantity::format_microseconds;
use crate::api::rule::IndexPlace;

/// Largest stream packet of a rule, in bytes.
pub const RULE_SIZE: RangeInclusive<u16> = 20..=9000;
/// Pooling window of a rule.
pub const RULE_WINDOW: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(10);
/// How long a rule holds pools for packets that it requires.
pub const RULE_HOLD: RangeInclusive<Duration> = Duration::from_micros(1)..=Duration::from_secs(100);
/// Most packets of a pooled packet of a rule, and those that it requires.
pub const RULE_COUNT: RangeInclusive<u8> = 2..=255;
/// Without a bound of its own, a rule holds pools for so many windows.
const HOLD_WINDOWS: u32 = 10;

/// `[[rule]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the operator calls it.
    pub name: String,
    /// The packets it is for.
    pub matcher: Match,
    /// How they are pooled. None: never.
    pub criteria: Option<Criteria>,
}

/// How a rule pools, as told: what is None has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criteria {
    /// The longest packet it pools, in bytes of IP length. See [`Criteria::max_size`].
    pub max_size: Option<u16>,
    /// The longest time a packet waits for company.
    pub window: Duration,
    /// The most packets in one pooled packet. See [`Criteria::max_count`].
    pub max_count: Option<u8>,
    /// A pool waits until it holds so many.
    pub required_count: Option<u8>,
    /// The longest time that it waits for them. See [`Criteria::hold`].
    pub hold: Option<Duration>,
    /// Packets leave at once where no company is to be expected within the window.
    pub adaptive: bool,
    /// How much of their ways packets must share.
    pub shared_hops: SharedHops,
    /// The longest pooled packet, in bytes of IP length; None: what the path takes.
    pub path_mtu: Option<u16>,
    /// What becomes of a packet that no other joined.
    pub lone: Lone,
    /// How its packets travel.
    pub representation: Representation,
    /// Where the index of its pooled packets is.
    pub index: Index,
}

/// Where the index of a rule's pooled packets is, as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// In front of their data.
    InBand,
    /// In packets of its own.
    OutOfBand,
    /// Nowhere: both ends know the lengths, which the template of this id lists.
    Predetermined(TemplateId),
}

impl Index {
    /// What two keys say together.
    ///
    /// # Errors
    /// What was expected of `template`.
    pub fn told(index: Option<IndexPlace>, template: Option<u8>) -> Result<Index, &'static str> {
        match (index, template) {
            (None | Some(IndexPlace::InBand), None) => Ok(Index::InBand),
            (Some(IndexPlace::OutOfBand), None) => Ok(Index::OutOfBand),
            (Some(IndexPlace::Predetermined), Some(id)) => {
                TemplateId::new(id).map(Index::Predetermined).ok_or("expected the id of a [[template]], 1 to 255")
            }
            (Some(IndexPlace::Predetermined), None) => {
                Err("missing; expected the id of a [[template]] beside index = \"predetermined\"")
            }
            (_, Some(_)) => Err("expected index = \"predetermined\" beside it"),
        }
    }

    /// The same as clients are told it.
    pub fn place(self) -> (IndexPlace, Option<u8>) {
        match self {
            Index::InBand => (IndexPlace::InBand, None),
            Index::OutOfBand => (IndexPlace::OutOfBand, None),
            Index::Predetermined(id) => (IndexPlace::Predetermined, Some(id.value())),
        }
    }
}

impl Criteria {
    /// Those that have only a window.
    pub fn new(window: Duration) -> Criteria {
        Criteria {
            max_size: None,
            window,
            max_count: None,
            required_count: None,
            hold: None,
            adaptive: false,
            shared_hops: SharedHops::WholePath,
            path_mtu: None,
            lone: Lone::Itself,
            representation: Representation::Whole,
            index: Index::InBand,
        }
    }

    /// The longest packet that fits into a pooled packet of the rule.
    fn room(&self) -> u16 {
        self.path_mtu.unwrap_or(DEFAULT_PEER_MTU).saturating_sub(POOL_OVERHEAD)
    }

    /// The longest packet it pools: as told, or what a pooled packet of the default path MTU, or the rule's, has room for.
    pub fn max_size(&self) -> u16 {
        self.max_size.unwrap_or(self.room())
    }

    /// The most packets in one pooled packet: as told, or as many as its header can count.
    pub fn max_count(&self) -> u8 {
        self.max_count.unwrap_or(u8::MAX)
    }

    /// The longest time that a pool waits for the packets that the rule requires.
    pub fn hold(&self) -> Duration {
        self.hold.unwrap_or(self.window * HOLD_WINDOWS)
    }

    /// The times that its pools wait for: the window and, where it holds them, what is left of that time.
    pub fn windows(&self) -> impl Iterator<Item = Duration> {
        let held = self.required_count.map(|_| self.hold().saturating_sub(self.window));
        [Some(self.window), held].into_iter().flatten()
    }

    /// Two things told that cannot both hold: the key to change, and what was expected there.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        let micros = |time: Duration| format_microseconds(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let max_count = self.max_count();
        if self.required_count.is_some_and(|required| required > max_count) {
            return Some(("required_count", format!("expected at most {max_count}, the rule's max_count")));
        }
        if self.hold.is_some() && self.required_count.is_none() {
            return Some(("hold", "expected required_count beside it, the packets that pools are held for".into()));
        }
        if self.hold.is_some_and(|hold| hold < self.window) {
            return Some(("hold", format!("expected at least {:?}, the rule's window", micros(self.window))));
        }
        if self.representation == Representation::Learned {
            let longest = |time| format!("expected at most {:?} beside learned headers", micros(time));
            if self.window > LONGEST_WAIT {
                return Some(("window", longest(LONGEST_WAIT)));
            }
            if self.required_count.is_some() && self.hold() > LONGEST_WAIT {
                let held = format!(
                    "{} and required_count: without hold, {HOLD_WINDOWS} times that is what pools are held for",
                    longest(LONGEST_WAIT / HOLD_WINDOWS)
                );
                return Some(if self.hold.is_some() { ("hold", longest(LONGEST_WAIT)) } else { ("window", held) });
            }
        }
        let needs_in_band = match self.representation {
            Representation::Whole => None,
            Representation::Learned => Some("learned headers, which have an index of their own"),
            Representation::Provisioned => Some("provisioned streams, whose rows say which entries are of streams"),
        };
        if let Some(what) = needs_in_band.filter(|_| self.index != Index::InBand) {
            return Some(("index", format!("expected in-band beside {what}")));
        }
        if let (Some(size), Some(path_mtu)) = (self.max_size, self.path_mtu)
            && size > self.room()
        {
            let room = self.room();
            let message =
                format!("expected at most \"{room}B\": path_mtu {path_mtu} less {POOL_OVERHEAD} bytes of headers");
            return Some(("max_size", message));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_has_a_default() {
        let criteria = Criteria::new(Duration::from_millis(2));
        assert_eq!((criteria.max_size(), criteria.max_count()), (1458, 255));
        assert_eq!(criteria.hold(), Duration::from_millis(20));
        assert_eq!(criteria.contradiction(), None);
        let narrow = Criteria { path_mtu: Some(600), ..criteria };
        assert_eq!((narrow.max_size(), narrow.contradiction()), (558, None));
    }

    #[test]
    fn a_template_belongs_to_predetermined_packets_and_to_no_others() {
        let id = TemplateId::new(7).expect("not 0");
        assert_eq!(Index::told(None, None), Ok(Index::InBand));
        assert_eq!(Index::told(Some(IndexPlace::Predetermined), Some(7)), Ok(Index::Predetermined(id)));
        assert!(Index::told(Some(IndexPlace::Predetermined), Some(0)).is_err_and(|error| error.contains("1 to 255")));
        assert!(Index::told(Some(IndexPlace::Predetermined), None).is_err_and(|error| error.starts_with("missing")));
        for place in [None, Some(IndexPlace::InBand), Some(IndexPlace::OutOfBand)] {
            assert!(Index::told(place, Some(7)).is_err(), "{place:?}");
        }
        for index in [Index::InBand, Index::OutOfBand, Index::Predetermined(id)] {
            let (place, template) = index.place();
            assert_eq!(Index::told(Some(place), template), Ok(index));
        }
    }

    #[test]
    fn a_rule_that_holds_pools_waits_for_two_times() {
        let plain = Criteria::new(Duration::from_millis(2));
        assert_eq!(plain.windows().collect::<Vec<_>>(), [Duration::from_millis(2)]);
        let holds = Criteria { required_count: Some(5), hold: Some(Duration::from_millis(50)), ..plain };
        assert_eq!(holds.windows().collect::<Vec<_>>(), [Duration::from_millis(2), Duration::from_millis(48)]);
    }
}
