//! Which server takes the next request.
//!
//! Servers that are unhealthy or ejected are passed over. Where all of them are, all are tried as if none were: an answer
//! that may fail is better than one that is sure to, and checks can be wrong (Envoy calls this panic mode, and enters it
//! at half of the servers already; nginx does as we do).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sha2::{Digest as _, Sha256};

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

    /// A number that looks random, another at each call (SplitMix64).
    pub(super) fn random(&self) -> u64 {
        mix(self.next.fetch_add(1, Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15))
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

/// `least_requests`: of two servers drawn by weight, the one with fewer requests underway for its weight. Two choices
/// are nearly as even as looking at all, and herd nobody onto the one that was idle last (Mitzenmacher 2001).
pub(super) fn by_two_choices(servers: &[Weighted], random: u64, may: impl Fn(&Server) -> bool) -> Option<&Weighted> {
    let first = draw(servers.iter().filter(|it| may(&it.server)), random as u32)?;
    let others = servers.iter().filter(|it| may(&it.server) && it.server.pool != first.server.pool);
    let Some(second) = draw(others, (random >> 32) as u32) else { return Some(first) };
    let load = |it: &Weighted, by: &Weighted| it.server.in_flight() as u64 * u64::from(by.weight);
    Some(if load(second, first) < load(first, second) { second } else { first })
}

/// One by its weight; `None` of none.
fn draw<'s>(mut servers: impl Iterator<Item = &'s Weighted> + Clone, random: u32) -> Option<&'s Weighted> {
    let total: u64 = servers.clone().map(|it| u64::from(it.weight)).sum();
    let mut left = (total * u64::from(random)) >> 32;
    servers.find(|it| {
        let weight = u64::from(it.weight);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}

/// `consistent_key`: the server whose score for this request is highest (rendezvous hashing, weighted as by Schindelhauer
/// and Schomaker 2005). When a server goes, only its keys move, and to all the others; when it is back, so are they.
pub(super) fn by_rendezvous(servers: &[Weighted], affinity: u64, may: impl Fn(&Server) -> bool) -> Option<&Weighted> {
    let score = |it: &Weighted| {
        // A number above 0 and below 1 with the 53 bits that a float has.
        let uniform = ((mix(affinity ^ it.server.seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(it.weight) / -uniform.ln()
    };
    let scored = servers.iter().filter(|it| may(&it.server)).map(|it| (score(it), it));
    scored.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, it)| it)
}

/// 64 bits of a SHA-256 over the parts.
pub(super) fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input changes half of the output's.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
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
