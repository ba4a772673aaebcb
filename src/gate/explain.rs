//! The checks that a request goes through, by name and in order, and how far one got: the verdict of [`super::decide`], told
//! as a story. Nothing is decided here.

use crate::record::Verdict;
use crate::vocab::denial::Denial;

/// One check, in the order of INTERFACE.md §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The request has one reading.
    Request,
    /// No credential in the clear.
    Transport,
    /// `limits.per_ip`, `limits.total`
    WideLimits,
    /// `limits.failures_per_ip`
    LockOut,
    /// Host, path and method.
    Route,
    /// Exactly one key was sent, if one is needed.
    Credential,
    /// The key may be used now.
    Key,
    /// The key's `routes`.
    Routes,
    /// The key's `methods`.
    Methods,
    /// The key's `paths`.
    Paths,
    /// The key's `networks`.
    Networks,
    /// The route's `roles`.
    Roles,
    /// The key's `limits` and the route's.
    Limits,
    /// The key's `quota`.
    Quota,
    /// The key's `concurrency`.
    Concurrency,
    /// `body_bytes_max`
    Body,
}

/// What became of a request at one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It passed.
    Passed,
    /// Nobody asks: there is no key to be held against it.
    NotAsked,
    /// It was refused.
    Refused(Denial),
    /// It would have been, were it not for shadow mode.
    Shadowed(Denial),
    /// It did not get here.
    NotReached,
}

impl Check {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::Request,
        Self::Transport,
        Self::WideLimits,
        Self::LockOut,
        Self::Route,
        Self::Credential,
        Self::Key,
        Self::Routes,
        Self::Methods,
        Self::Paths,
        Self::Networks,
        Self::Roles,
        Self::Limits,
        Self::Quota,
        Self::Concurrency,
        Self::Body,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Transport => "transport",
            Self::WideLimits => "wide limits",
            Self::LockOut => "lock-out",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Key => "key",
            Self::Routes => "key.routes",
            Self::Methods => "key.methods",
            Self::Paths => "key.paths",
            Self::Networks => "key.networks",
            Self::Roles => "route.roles",
            Self::Limits => "limits",
            Self::Quota => "quota",
            Self::Concurrency => "concurrency",
            Self::Body => "body",
        }
    }

    /// The check that refuses so; `None` for what an upstream refuses.
    pub const fn that_refuses(denial: Denial) -> Option<Self> {
        Some(match denial {
            Denial::MalformedRequest => Self::Request,
            Denial::InsecureTransport => Self::Transport,
            Denial::IpLimited | Denial::TotalLimited => Self::WideLimits,
            Denial::LockedOut => Self::LockOut,
            Denial::NoRoute | Denial::MethodNotAllowed => Self::Route,
            Denial::MissingKey | Denial::DuplicateCredential => Self::Credential,
            Denial::MalformedKey
            | Denial::BadChecksum
            | Denial::UnknownKey
            | Denial::Expired
            | Denial::NotYetValid
            | Denial::Disabled
            | Denial::Revoked
            | Denial::Compromised
            | Denial::Honey
            | Denial::RotatedOut
            | Denial::Quarantined
            | Denial::Suspended => Self::Key,
            Denial::RouteDenied => Self::Routes,
            Denial::MethodDenied => Self::Methods,
            Denial::PathDenied => Self::Paths,
            Denial::NetworkDenied => Self::Networks,
            Denial::RoleDenied => Self::Roles,
            Denial::RateLimited => Self::Limits,
            Denial::QuotaExceeded => Self::Quota,
            Denial::ConcurrencyLimited => Self::Concurrency,
            Denial::BodyTooLarge => Self::Body,
            Denial::UpstreamUnavailable | Denial::UpstreamTimeout | Denial::UpstreamError | Denial::UpstreamBusy => {
                return None;
            }
        })
    }

    /// It holds something against a key.
    const fn is_of_key(self) -> bool {
        match self {
            Self::Key
            | Self::Routes
            | Self::Methods
            | Self::Paths
            | Self::Networks
            | Self::Roles
            | Self::Limits
            | Self::Quota
            | Self::Concurrency => true,
            Self::Request
            | Self::Transport
            | Self::WideLimits
            | Self::LockOut
            | Self::Route
            | Self::Credential
            | Self::Body => false,
        }
    }
}

/// What became of a request at every check. `has_key` if a key is known to have sent it.
pub fn story(verdict: Verdict, has_key: bool) -> [(Check, Step); 16] {
    let (end, at_end) = match verdict {
        Verdict::Allow => (None, Step::Passed),
        Verdict::Deny(denial) => (Check::that_refuses(denial), Step::Refused(denial)),
        Verdict::Shadow(denial) => (Check::that_refuses(denial), Step::Shadowed(denial)),
    };
    Check::ALL.map(|check| {
        let step = match end {
            Some(end) if check > end => Step::NotReached,
            Some(end) if check == end => at_end,
            Some(_) | None if check.is_of_key() && !has_key => Step::NotAsked,
            Some(_) | None => Step::Passed,
        };
        (check, step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_refuse_in_the_order_of_the_interface() {
        let order: Vec<_> = Denial::ALL.into_iter().filter_map(Check::that_refuses).collect();
        assert!(order.is_sorted(), "{order:?}");
        for check in Check::ALL {
            assert!(order.contains(&check), "{check:?} refuses nothing");
        }
    }

    #[test]
    fn a_story_ends_where_the_request_was_refused() {
        let told = story(Verdict::Deny(Denial::MethodDenied), true);
        let step = |wanted| told.iter().find(|(check, _)| *check == wanted).map(|(_, step)| *step);
        assert_eq!(step(Check::Routes), Some(Step::Passed));
        assert_eq!(step(Check::Methods), Some(Step::Refused(Denial::MethodDenied)));
        assert_eq!(step(Check::Paths), Some(Step::NotReached));
        let open = story(Verdict::Allow, false);
        assert!(open.contains(&(Check::Limits, Step::NotAsked)) && open.contains(&(Check::Body, Step::Passed)));
    }
}
