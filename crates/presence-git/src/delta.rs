//! Applies deltas of packs, which make one object from another by copying and inserting.

use std::ops::Range;

/// Applies the delta to `base`, a range of `bytes`, and appends the result to `bytes`. `None`, possibly after
/// a partial result, if the delta is broken or the result would exceed `most`.
pub fn apply(delta: &[u8], base: Range<usize>, bytes: &mut Vec<u8>, most: usize) -> Option<()> {
    let mut rest = delta;
    let from = number(&mut rest)?;
    let to = number(&mut rest)?;
    if from != base.len() || to > most {
        return None;
    }
    let start = bytes.len();
    bytes.reserve(to);
    while let Some((command, after)) = rest.split_first() {
        rest = after;
        if command & 0x80 != 0 {
            let mut field = |bits: Range<u8>| {
                let mut value = 0;
                for (place, bit) in bits.enumerate() {
                    if command & 1 << bit != 0 {
                        let (byte, after) = rest.split_first()?;
                        rest = after;
                        value |= usize::from(*byte) << (8 * place);
                    }
                }
                Some(value)
            };
            let offset = field(0..4)?;
            let size = match field(4..7)? {
                0 => 0x10000,
                size => size,
            };
            let end = offset.checked_add(size).filter(|end| *end <= base.len())?;
            bytes.extend_from_within(base.start + offset..base.start + end);
        } else {
            // The command 0 is reserved.
            let (added, after) = rest.split_at_checked(usize::from(*command).max(1))?;
            rest = after;
            if *command == 0 {
                return None;
            }
            bytes.extend_from_slice(added);
        }
        if bytes.len() - start > to {
            return None;
        }
    }
    (bytes.len() - start == to).then_some(())
}

/// A number with seven bits in each byte, the lowest first.
fn number(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0usize;
    for shift in (0..usize::BITS - 7).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
