//! The hops of a path.

use std::net::IpAddr;
use std::sync::Arc;

pub use carpool_dataplane::pool::path::MAX_HOPS;

/// The routers on a way, the next hop first: 1 to [`MAX_HOPS`] addresses, each one of the addresses of its router. Cheap
/// to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HopList {
    first: IpAddr,
    all: Arc<[IpAddr]>,
}

impl HopList {
    /// These hops; None where there are none, or more than [`MAX_HOPS`].
    pub fn new(hops: &[IpAddr]) -> Option<HopList> {
        let first = *hops.first()?;
        (hops.len() <= MAX_HOPS).then(|| HopList { first, all: hops.into() })
    }

    /// The next hop.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// All hops, the next one first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IpAddr> + DoubleEndedIterator {
        self.all.iter().copied()
    }
}

impl std::fmt::Display for HopList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, hop) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(" > ")?;
            }
            hop.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_to_sixteen_hops() {
        let hops: Vec<_> = (1..=17).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        assert_eq!(HopList::new(&hops[..0]), None);
        assert_eq!(HopList::new(&hops), None);
        let longest = HopList::new(&hops[..16]).expect("16 are allowed");
        assert_eq!((longest.first(), longest.iter().len()), (hops[0], 16));
        assert_eq!(HopList::new(&hops[..2]).expect("two").to_string(), "10.0.0.1 > 10.0.0.2");
    }
}
