//! The difference between two objects, as packs have it: what to copy from the one, what to add.

use std::ops::Range;

/// Appends to `bytes` what the delta makes of `base`, a part of `bytes`. None, and anything appended, if the delta is
/// broken or would make more than `most`.
pub(super) fn apply(delta: &[u8], base: Range<usize>, bytes: &mut Vec<u8>, most: usize) -> Option<()> {
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
            // A command of 0 is reserved, and takes nothing.
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

/// Seven bits a byte, the lowest first.
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
