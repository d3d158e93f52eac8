//! Next hops as the tables hold them: small numbers, of which one means that there is no route.

use super::stream::Random;

/// How many next hops the table has; they are numbered from 1.
pub const NEXT_HOPS: u16 = 250;
/// What a look-up gives where no prefix matches.
pub const NO_ROUTE: u16 = 0;

/// The next hop of the prefixes that an origin AS announces: neighbouring AS numbers get unrelated ones.
pub fn of_origin(origin: u32) -> u16 {
    1 + Random(u64::from(origin)).below(u128::from(NEXT_HOPS)) as u16
}
