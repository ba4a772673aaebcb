//! How many connections may be open: over all workers, and from one address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::config::gateway::Http;
use crate::observe::metrics::Refused;

/// The connections of the whole process.
#[derive(Debug, Default)]
pub struct Slots {
    open: AtomicUsize,
    refused: AtomicUsize,
    per_ip: DashMap<IpAddr, usize>,
}

/// One open connection; dropping it frees its place.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    counted_for: Option<IpAddr>,
}

impl Slots {
    /// A place for a connection from `address` (none: over a Unix socket, or not known yet), unless `http`'s limits are reached.
    ///
    /// # Errors
    /// Which of them.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>, http: &Http) -> Result<Slot, Refused> {
        let taken = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < http.connections_max).then_some(open + 1)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        // From here on the slot gives back what it took, also on the way out below.
        let mut slot = Slot { slots: Arc::clone(self), counted_for: None };
        let has_room = address.is_none_or(|address| slot.count_for(address, http));
        has_room.then_some(slot).ok_or(Refused::FullForAddress)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were turned away since the last call.
    pub fn take_refused(&self) -> usize {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

impl Slot {
    /// Counts the connection for `address`, once that is known. False if the address has its number already.
    pub fn count_for(&mut self, address: IpAddr, http: &Http) -> bool {
        let Some(max) = http.connections_per_ip_max else { return true };
        let mut count = self.slots.per_ip.entry(address).or_insert(0);
        if *count >= max {
            drop(count);
            self.slots.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        *count += 1;
        self.counted_for = Some(address);
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open.fetch_sub(1, Ordering::AcqRel);
        if let Some(address) = self.counted_for
            && let Entry::Occupied(mut entry) = self.slots.per_ip.entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn places_are_limited_per_address_and_in_all_and_come_back() {
        let http = Http {
            header_timeout: Duration::ZERO,
            body_idle_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            header_bytes_max: 0,
            headers_max: 0,
            connections_max: 3,
            connections_per_ip_max: Some(2),
            h2_streams_max: 0,
            body_bytes_max: None,
        };
        let slots = Arc::new(Slots::default());
        let [a, b] = ["10.0.0.1", "10.0.0.2"].map(|a| Some(a.parse().expect("an address")));
        let held = [slots.take(a, &http), slots.take(a, &http)];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(slots.take(a, &http).err(), Some(Refused::FullForAddress), "the address has its two");
        let other = slots.take(b, &http);
        assert!(other.is_ok());
        assert_eq!(slots.take(b, &http).err(), Some(Refused::Full), "the gateway has its three");
        assert_eq!(slots.take_refused(), 2);
        drop(other);
        let mut late = slots.take(None, &http).expect("the third place");
        assert!(!late.count_for(a.expect("an address"), &http) && late.count_for(b.expect("an address"), &http));
        assert_eq!(slots.take_refused(), 1);
        drop((held, late));
        assert_eq!(slots.open(), 0);
        assert!(slots.per_ip.is_empty());
        assert!(slots.take(a, &http).is_ok());
    }
}
