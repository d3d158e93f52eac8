//! Transactions on a table: in which order readers see them, and how they are taken back.
//!
//! First all that is put in, the longest prefix first, then all that is taken out, the shortest first. So each address
//! changes once, from its old longest match to its new one: while prefixes are put in, the first that is longer than an
//! address's old match is its new match, or none is; and when its old match is taken out, everything between that and the
//! new one is already gone.

use super::error::FibError;
use super::next_hop::EntryId;

/// So many prefixes are dealt with between two pulses.
const PULSE: usize = 4096;

/// What a change gives a prefix: a leaf, or None where it goes.
type Change<P> = (P, Option<EntryId>);

/// The changes in the order readers are to see them, the last one of each prefix. `key` says the length of a prefix and
/// what it is without host bits.
pub fn ordered<P: Copy + Ord>(changes: &[Change<P>], key: impl Fn(P) -> (u8, P)) -> Vec<Change<P>> {
    let mut changes: Vec<_> =
        changes.iter().enumerate().map(|(position, (prefix, leaf))| (key(*prefix), position, *leaf)).collect();
    changes.sort_unstable_by_key(|((length, prefix), position, _)| (*length, *prefix, *position));
    // Of two that are equal the first one is dropped: it is given to the closure as the second argument.
    changes.reverse();
    changes.dedup_by_key(|(key, _, _)| *key);
    let all = changes.iter().map(|((_, prefix), _, leaf)| (*prefix, *leaf));
    let taken_out = all.clone().rev().filter(|(_, leaf)| leaf.is_none());
    all.filter(|(_, leaf)| leaf.is_some()).chain(taken_out).collect()
}

/// Makes the changes one after another.
///
/// # Errors
/// The first that a change returned, with what takes back those before it, in the order to do so.
pub fn apply<P: Copy>(
    changes: Vec<Change<P>>,
    pulse: &mut dyn FnMut(),
    mut change: impl FnMut(P, Option<EntryId>) -> Result<Option<EntryId>, FibError>,
) -> Result<(), (FibError, Vec<Change<P>>)> {
    let mut undo = Vec::with_capacity(changes.len());
    for (count, (prefix, leaf)) in changes.into_iter().enumerate() {
        if count % PULSE == 0 {
            pulse();
        }
        match change(prefix, leaf) {
            Ok(before) => undo.push((prefix, before)),
            Err(error) => {
                undo.reverse();
                return Err((error, undo));
            }
        }
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use ipnet::Ipv4Net;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a prefix")
    }

    fn order(changes: &[(&str, Option<u16>)]) -> Vec<(String, Option<u16>)> {
        let changes: Vec<_> = changes.iter().map(|(prefix, leaf)| (net(prefix), leaf.map(EntryId))).collect();
        let ordered = ordered(&changes, |prefix| (prefix.prefix_len(), prefix.trunc()));
        ordered.into_iter().map(|(prefix, leaf)| (prefix.to_string(), leaf.map(|leaf| leaf.0))).collect()
    }

    #[test]
    fn what_comes_is_put_in_longest_first_and_then_what_goes_is_taken_out_shortest_first() {
        let changes = [("10.1.0.0/16", None), ("10.0.0.0/8", Some(1)), ("10.1.2.0/24", Some(2)), ("11.0.0.0/8", None)];
        let expected = [("10.1.2.0/24", Some(2)), ("10.0.0.0/8", Some(1)), ("11.0.0.0/8", None), ("10.1.0.0/16", None)];
        assert_eq!(order(&changes), expected.map(|(prefix, leaf)| (prefix.to_string(), leaf)));
    }

    #[test]
    fn the_last_change_of_a_prefix_counts_whatever_its_host_bits() {
        let changes = [("10.0.0.0/8", Some(1)), ("10.9.9.9/8", None), ("10.0.0.1/8", Some(3)), ("11.0.0.0/8", None)];
        assert_eq!(order(&changes), [("10.0.0.0/8".to_string(), Some(3)), ("11.0.0.0/8".to_string(), None)]);
    }

    #[test]
    fn what_was_done_before_an_error_is_taken_back_in_reverse() {
        let changes = vec![(1, None), (2, Some(EntryId(7))), (3, None), (4, None)];
        let mut pulses = 0;
        let failed = apply(changes, &mut || pulses += 1, |prefix, _| match prefix {
            3 => Err(FibError::Full),
            prefix => Ok(Some(EntryId(prefix * 10))),
        });
        assert_eq!(failed, Err((FibError::Full, vec![(2, Some(EntryId(20))), (1, Some(EntryId(10)))])));
        assert_eq!(pulses, 1);
    }
}
