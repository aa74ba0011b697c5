//! How many wrong keys one address may show: some at once, then one after every pause.
//!
//! Guarantees: memory for a bounded number of addresses; an address whose wrong keys lie far enough back costs none. A right
//! key is taken whatever came from its address before: behind one address there may be many people, and a key has far too
//! many bits to be found by trying. The bound keeps whoever tries, or forgot to change a key, from costing time and log.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::Timestamp;

/// Addresses that are remembered one by one; beyond them all others share one count. 10,000 are half a megabyte.
const ADDRESSES: usize = 10_000;

/// For each address, when its allowance will be whole again.
#[derive(Debug)]
pub(super) struct WrongKeys {
    at_once: NonZeroU64,
    pause: Duration,
    whole: Mutex<HashMap<IpAddr, Timestamp>>,
}

impl WrongKeys {
    pub fn new(at_once: NonZeroU64, pause: Duration) -> Self {
        Self { at_once, pause, whole: Mutex::default() }
    }

    /// Counts a wrong key.
    ///
    /// # Errors
    /// How long until the address may show the next one.
    pub fn count(&self, from: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let mut from = network(from);
        if whole.len() >= ADDRESSES && !whole.contains_key(&from) {
            whole.retain(|_, whole| *whole > now);
            if whole.len() >= ADDRESSES {
                from = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        let most = self.pause.saturating_mul(u32::try_from(self.at_once.get()).unwrap_or(u32::MAX));
        let next = whole.get(&from).copied().unwrap_or(now).max(now).plus(self.pause);
        match next.since(now).checked_sub(most) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                whole.insert(from, next);
                Ok(())
            }
        }
    }
}

/// What one household or server has: an IPv4 address, or the first half of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_then_one_a_second() -> WrongKeys {
        WrongKeys::new(NonZeroU64::new(3).unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn some_at_once_then_one_after_every_pause_for_each_address() {
        let keys = three_then_one_a_second();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let at = Timestamp::from_millis;
        for _ in 0..3 {
            assert_eq!(keys.count(one, at(5_000)), Ok(()));
        }
        assert_eq!(keys.count(one, at(5_000)), Err(Duration::from_secs(1)));
        assert_eq!(keys.count(one, at(5_600)), Err(Duration::from_millis(400)));
        assert_eq!(keys.count(other, at(5_600)), Ok(()));
        assert_eq!(keys.count(one, at(6_000)), Ok(()));
        assert_eq!(keys.count(one, at(6_000)), Err(Duration::from_secs(1)));
        for _ in 0..3 {
            assert_eq!(keys.count(one, at(60_000)), Ok(()), "a long pause makes the allowance whole, and no more");
        }
        assert!(keys.count(one, at(60_000)).is_err());
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let keys = three_then_one_a_second();
        for last in 1..=3 {
            assert_eq!(keys.count(format!("2001:db8::{last}").parse().unwrap(), Timestamp::from_millis(1)), Ok(()));
        }
        assert!(keys.count("2001:db8::4".parse().unwrap(), Timestamp::from_millis(1)).is_err());
        assert!(keys.count("2001:db8:0:1::4".parse().unwrap(), Timestamp::from_millis(1)).is_ok());
    }

    #[test]
    fn more_addresses_than_are_remembered_share_one_count() {
        let keys = three_then_one_a_second();
        let now = Timestamp::from_millis(1);
        for number in 0..ADDRESSES as u32 {
            assert_eq!(keys.count(IpAddr::V4(number.into()), now), Ok(()));
        }
        let refused = (0..10_u32).filter(|number| keys.count(IpAddr::V4((1 << 30 | number).into()), now).is_err());
        assert_eq!(refused.count(), 7);
        assert!(keys.whole.lock().unwrap().len() <= ADDRESSES + 1);
        let later = Timestamp::from_millis(60_000);
        assert_eq!(keys.count(IpAddr::V4((1 << 30).into()), later), Ok(()));
        assert_eq!(keys.whole.lock().unwrap().len(), 1);
    }
}
