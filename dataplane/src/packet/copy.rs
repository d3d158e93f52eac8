//! Copies of packets from 20 to 1500 bytes: moves of fixed size, where a call would cost as much as the copy of a short one.

/// Copies `source` to `target`; false, and nothing is copied, where they are not of the same length.
#[inline(always)]
pub fn copy(source: &[u8], target: &mut [u8]) -> bool {
    if source.len() != target.len() {
        return false;
    }
    // Two moves that overlap in the middle, or the last of several that overlaps the one before.
    if source.len() > 64 {
        for (from, to) in source.as_chunks::<64>().0.iter().zip(target.as_chunks_mut::<64>().0) {
            *to = *from;
        }
        copy_last::<64>(source, target)
    } else if source.len() >= 32 {
        copy_first::<32>(source, target) && copy_last::<32>(source, target)
    } else if source.len() >= 16 {
        copy_first::<16>(source, target) && copy_last::<16>(source, target)
    } else if source.len() >= 8 {
        copy_first::<8>(source, target) && copy_last::<8>(source, target)
    } else if source.len() >= 4 {
        copy_first::<4>(source, target) && copy_last::<4>(source, target)
    } else {
        // 1 to 3: the outer two overlap or leave one in the middle.
        source.is_empty()
            || copy_first::<1>(source, target)
                && copy_last::<1>(source, target)
                && (source.len() < 2 || copy_first::<2>(source, target))
    }
}

#[inline(always)]
fn copy_first<const N: usize>(source: &[u8], target: &mut [u8]) -> bool {
    let (Some(from), Some(to)) = (source.first_chunk::<N>(), target.first_chunk_mut::<N>()) else { return false };
    *to = *from;
    true
}

#[inline(always)]
fn copy_last<const N: usize>(source: &[u8], target: &mut [u8]) -> bool {
    let (Some(from), Some(to)) = (source.last_chunk::<N>(), target.last_chunk_mut::<N>()) else { return false };
    *to = *from;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_all_lengths_are_copied_to_the_last_byte() {
        for length in 0..400usize {
            let source: Vec<u8> = (0..length).map(|at| at as u8 | 1).collect();
            let mut target = vec![0; length];
            assert!(copy(&source, &mut target));
            assert_eq!(target, source);
        }
    }

    #[test]
    fn what_is_of_another_length_is_left_alone() {
        let mut target = [7; 40];
        assert!(!copy(&[1; 39], &mut target) && !copy(&[1; 41], &mut target));
        assert_eq!(target, [7; 40]);
    }
}
