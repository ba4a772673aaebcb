//! Which server takes the next request.
//!
//! Servers that are unhealthy or ejected are passed over. Where all of them are, all are tried as if none were: an answer
//! that may fail is better than one that is sure to, and checks can be wrong (Envoy calls this panic mode, and enters it
//! at half of the servers already; nginx does as we do).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::server::Server;

/// A server and its share.
#[derive(Debug)]
pub struct Weighted {
    /// The server.
    pub server: Arc<Server>,
    /// 1 to 65535.
    pub weight: u16,
}

/// What a choice remembers from one request to the next.
#[derive(Debug)]
pub(super) struct Turns {
    next: AtomicU64,
    /// Of the turns that fall to a server that is out: counted apart, or the two counts would beat against each other.
    next_instead: AtomicU64,
    wheel: Wheel,
}

impl Turns {
    pub(super) fn new(servers: &[Weighted]) -> Self {
        Self { next: AtomicU64::new(0), next_instead: AtomicU64::new(0), wheel: Wheel::new(servers.iter()) }
    }

    /// By turns, in exact proportion to the weights; the share of a server that is out goes to the others.
    pub(super) fn pick<'s>(&self, servers: &'s [Weighted], may: impl Fn(&Server) -> bool) -> Option<&'s Weighted> {
        let chosen = self.wheel.at(servers.iter(), self.next.fetch_add(1, Relaxed))?;
        if may(&chosen.server) { Some(chosen) } else { self.pick_instead(servers, may) }
    }

    /// By turns among those that may, where the turn has come to one that may not.
    pub(super) fn pick_instead<'s>(
        &self,
        servers: &'s [Weighted],
        may: impl Fn(&Server) -> bool,
    ) -> Option<&'s Weighted> {
        let left = servers.iter().filter(|it| may(&it.server));
        let wheel = Wheel::new(left.clone());
        if wheel.slots == 0 {
            return None;
        }
        wheel.at(left, self.next_instead.fetch_add(1, Relaxed))
    }
}

/// As many slots as the weights together, after division by what they have in common. Every `slots` turns in a row visit
/// each slot once, in steps of about the golden section of the wheel, which spread a server's slots evenly.
#[derive(Clone, Copy, Debug)]
struct Wheel {
    slots: u64,
    step: u64,
    weight_per_slot: u64,
}

impl Wheel {
    fn new<'s>(servers: impl Iterator<Item = &'s Weighted> + Clone) -> Self {
        let weights = servers.map(|it| u64::from(it.weight));
        let weight_per_slot = weights.clone().fold(0, gcd).max(1);
        let slots = weights.sum::<u64>() / weight_per_slot;
        let wanted = slots * 618_034 / 1_000_000;
        let step = (wanted..slots).chain(0..wanted).find(|step| gcd(*step, slots) == 1);
        Self { slots, step: step.unwrap_or(1), weight_per_slot }
    }

    /// The server at which a turn ends; `None` of none.
    fn at<'s>(&self, mut servers: impl Iterator<Item = &'s Weighted>, turn: u64) -> Option<&'s Weighted> {
        // Both factors are below 2^24 (256 servers of 65535), so that the product fits.
        let mut slot = turn.checked_rem(self.slots)? * self.step % self.slots;
        servers.find(|it| {
            let slots = u64::from(it.weight) / self.weight_per_slot;
            let ends_here = slot < slots;
            slot = slot.saturating_sub(slots);
            ends_here
        })
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
