//! The byte that says where one delivery of a block stands.

use crate::model::{DeliveryState, FilterReason};

/// Owed and never tried to the end.
pub(super) const FRESH: u8 = 0;
/// The partner has it.
pub(super) const DELIVERED: u8 = 1;
/// Given up.
pub(super) const DEAD: u8 = 2;
/// Owed again: it has a row in `retries`.
pub(super) const RETRY: u8 = 3;
/// The block has an event at this position, but this connection owes it nothing.
pub(super) const NOT_OWED: u8 = 255;
/// Reasons for filtering follow from here, in the order of their declaration, which is therefore fixed.
const FILTERED: u8 = 16;

/// The byte of a filtered delivery.
pub(super) fn filtered(reason: FilterReason) -> u8 {
    FILTERED + reason as u8
}

/// Whether it is still owed.
pub(super) fn is_open(state: u8) -> bool {
    matches!(state, FRESH | RETRY)
}

/// What a byte means; `None` for one that is not owed or not known.
pub(super) fn meaning(state: u8) -> Option<(DeliveryState, Option<FilterReason>)> {
    match state {
        FRESH | RETRY => Some((DeliveryState::Pending, None)),
        DELIVERED => Some((DeliveryState::Delivered, None)),
        DEAD => Some((DeliveryState::Dead, None)),
        _ => {
            let reason = *FilterReason::ALL.get(usize::from(state.checked_sub(FILTERED)?))?;
            Some((DeliveryState::Filtered, Some(reason)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_byte_and_other_bytes_mean_nothing() {
        for reason in FilterReason::ALL {
            assert_eq!(meaning(filtered(reason)), Some((DeliveryState::Filtered, Some(reason))));
        }
        for state in [4, 15, FILTERED + FilterReason::ALL.len() as u8, NOT_OWED] {
            assert_eq!(meaning(state), None, "{state}");
        }
    }

    #[test]
    fn the_bytes_on_disk_do_not_change() {
        let bytes: Vec<_> = FilterReason::ALL.map(filtered).into();
        assert_eq!(bytes, [16, 17, 18, 19, 20, 21, 22, 23]);
        assert_eq!([FRESH, DELIVERED, DEAD, RETRY, NOT_OWED], [0, 1, 2, 3, 255]);
    }
}
