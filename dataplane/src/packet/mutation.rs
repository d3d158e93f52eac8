//! Inputs for property tests of parsers: valid packets with a few things wrong, and plain noise.
//!
//! Random bytes alone almost never pass the first check; a flipped bit or a lost byte in a valid packet reaches the
//! last.

use proptest::prelude::*;

/// One way to damage a packet.
#[derive(Clone, Debug)]
enum Damage {
    Flip { position: prop::sample::Index, mask: u8 },
    Set { position: prop::sample::Index, value: u8 },
    Truncate { length: prop::sample::Index },
    Extend { bytes: Vec<u8> },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), (0u32..8).prop_map(|bit| 1u8 << bit))
            .prop_map(|(position, mask)| Damage::Flip { position, mask }),
        2 => (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)])
            .prop_map(|(position, value)| Damage::Set { position, value }),
        1 => any::<prop::sample::Index>().prop_map(|length| Damage::Truncate { length }),
        1 => prop::collection::vec(any::<u8>(), 1..8).prop_map(|bytes| Damage::Extend { bytes }),
    ]
}

/// What `valid` makes, untouched or with up to three things wrong, and now and then noise.
pub(crate) fn mutated(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (valid, prop::collection::vec(damage(), 0..4)).prop_map(|(mut bytes, damages)| {
        for damage in damages {
            apply(&damage, &mut bytes);
        }
        bytes
    });
    prop_oneof![8 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    match damage {
        Damage::Extend { bytes: more } => bytes.extend_from_slice(more),
        Damage::Truncate { length } => bytes.truncate(length.index(bytes.len() + 1)),
        Damage::Flip { .. } | Damage::Set { .. } if bytes.is_empty() => {}
        Damage::Flip { position, mask } => *position.get_mut(bytes) ^= mask,
        Damage::Set { position, value } => *position.get_mut(bytes) = *value,
    }
}
