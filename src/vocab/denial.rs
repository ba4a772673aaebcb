//! Every way a request can be refused, and what each says to whom. INTERFACE.md §4 is this file's table.

use std::fmt;

/// Why a request was not answered by its upstream. Data, not an error: [`Denial::reason`] is for the log,
/// [`Denial::code`] for the client, and they differ on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denial {
    /// What a strict HTTP parser refuses.
    MalformedRequest,
    /// A credential over plaintext on a listener with `insecure = "refuse"`.
    InsecureTransport,
    /// `limits.per_ip`
    IpLimited,
    /// `limits.total`
    TotalLimited,
    /// Too many refused credentials from this address (`limits.failures_per_ip`).
    LockedOut,
    /// No route has this host and path.
    NoRoute,
    /// The route exists, for other methods.
    MethodNotAllowed,
    /// No key was sent to a route that needs one.
    MissingKey,
    /// More than one key was sent.
    DuplicateCredential,
    /// Our prefix with the wrong length or alphabet, too long, or not printable ASCII.
    MalformedKey,
    /// Our shape with the wrong CRC.
    BadChecksum,
    /// No entry has its hash.
    UnknownKey,
    /// At or after `expires`.
    Expired,
    /// Before `not_before`.
    NotYetValid,
    /// `state = "disabled"`
    Disabled,
    /// `state = "revoked"`
    Revoked,
    /// `state = "compromised"`
    Compromised,
    /// `state = "honey"`
    Honey,
    /// An older secret after its grace.
    RotatedOut,
    /// Its entry is invalid, or shares its hash with another.
    Quarantined,
    /// The key is suspended for a while: an alert's rule has `hold`.
    Suspended,
    /// The route is none of the key's `routes`.
    RouteDenied,
    /// The method is none of the key's `methods`.
    MethodDenied,
    /// The path is under none of the key's `paths`.
    PathDenied,
    /// The client is in none of the key's `networks`.
    NetworkDenied,
    /// The key lacks a role that the route wants.
    RoleDenied,
    /// One of the key's limits, its own or the route's; or `limits.open` of an address.
    RateLimited,
    /// The key's quota of the day, week or month.
    QuotaExceeded,
    /// As many of the key's requests are underway as it may have.
    ConcurrencyLimited,
    /// The body is larger than `body_bytes_max`, by its own account or as it comes.
    BodyTooLarge,
    /// No connection to the upstream.
    UpstreamUnavailable,
    /// No response head in time.
    UpstreamTimeout,
    /// The upstream reset or sent nonsense before its response head was whole.
    UpstreamError,
    /// Every connection to the upstream is taken, and its queue is full.
    UpstreamBusy,
}

/// Whose fault a failure is (pingora's "blame").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client sent what we refuse, or left.
    Client,
    /// The upstream failed.
    Upstream,
    /// We did.
    Gateway,
}

impl Denial {
    /// All of them, in the order of INTERFACE.md §4.
    pub const ALL: [Self; 34] = [
        Self::MalformedRequest,
        Self::InsecureTransport,
        Self::IpLimited,
        Self::TotalLimited,
        Self::LockedOut,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::MissingKey,
        Self::DuplicateCredential,
        Self::MalformedKey,
        Self::BadChecksum,
        Self::UnknownKey,
        Self::Expired,
        Self::NotYetValid,
        Self::Disabled,
        Self::Revoked,
        Self::Compromised,
        Self::Honey,
        Self::RotatedOut,
        Self::Quarantined,
        Self::Suspended,
        Self::RouteDenied,
        Self::MethodDenied,
        Self::PathDenied,
        Self::NetworkDenied,
        Self::RoleDenied,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::ConcurrencyLimited,
        Self::BodyTooLarge,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::UpstreamError,
        Self::UpstreamBusy,
    ];

    /// The log's `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::InsecureTransport => "insecure_transport",
            Self::IpLimited => "ip_limited",
            Self::TotalLimited => "total_limited",
            Self::LockedOut => "locked_out",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MissingKey => "missing_key",
            Self::DuplicateCredential => "duplicate_credential",
            Self::MalformedKey => "malformed_key",
            Self::BadChecksum => "bad_checksum",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Compromised => "compromised",
            Self::Honey => "honey",
            Self::RotatedOut => "rotated_out",
            Self::Quarantined => "quarantined",
            Self::Suspended => "suspended",
            Self::RouteDenied => "route_denied",
            Self::MethodDenied => "method_denied",
            Self::PathDenied => "path_denied",
            Self::NetworkDenied => "network_denied",
            Self::RoleDenied => "role_denied",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::BodyTooLarge => "body_too_large",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamBusy => "upstream_busy",
        }
    }

    /// The client's `code`: one for all the ways a key can be bad.
    pub const fn code(self) -> &'static str {
        self.face().code
    }

    /// The status before `keys.status_missing` and `keys.status_invalid` have their say.
    pub const fn status(self) -> u16 {
        self.face().status
    }

    /// One sentence for the client. Says nothing that tells one bad key from another.
    pub const fn detail(self) -> &'static str {
        self.face().detail
    }

    /// The challenge of RFC 6750 §3 that goes with it, if any.
    pub const fn challenge(self) -> Challenge {
        self.face().challenge
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        self.face().fault
    }

    /// True where a limit refused: the line is a `throttle`.
    pub const fn is_throttle(self) -> bool {
        self.status() == 429 && !self.is_suspension()
    }

    const fn is_suspension(self) -> bool {
        matches!(self, Self::Suspended)
    }

    /// The `type` of its problem (RFC 9457 §3.1.1), and the `title` where it has one of its own
    /// (draft-ietf-httpapi-ratelimit-headers-11 §5).
    pub const fn problem(self) -> (&'static str, Option<&'static str>) {
        if self.is_suspension() {
            const TYPE: &str = "https://iana.org/assignments/http-problem-types#abnormal-usage-detected";
            (TYPE, Some("Abnormal Usage Detected"))
        } else if self.is_throttle() {
            ("https://iana.org/assignments/http-problem-types#quota-exceeded", Some("Quota Exceeded"))
        } else {
            ("about:blank", None)
        }
    }

    /// True where a route or a key in shadow mode lets the request pass all the same, and only says so (INTERFACE.md §2):
    /// what is wrong with the key, what it may reach, and limits. What cannot be read, goes nowhere or is exposed stays refused.
    pub const fn yields_to_shadow(self) -> bool {
        match self {
            Self::IpLimited
            | Self::TotalLimited
            | Self::LockedOut
            | Self::MissingKey
            | Self::DuplicateCredential
            | Self::MalformedKey
            | Self::BadChecksum
            | Self::UnknownKey
            | Self::Expired
            | Self::NotYetValid
            | Self::Disabled
            | Self::Revoked
            | Self::Compromised
            | Self::Honey
            | Self::RotatedOut
            | Self::Quarantined
            | Self::Suspended
            | Self::RouteDenied
            | Self::MethodDenied
            | Self::PathDenied
            | Self::NetworkDenied
            | Self::RoleDenied
            | Self::RateLimited
            | Self::QuotaExceeded
            | Self::ConcurrencyLimited => true,
            Self::MalformedRequest
            | Self::InsecureTransport
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::BodyTooLarge
            | Self::UpstreamUnavailable
            | Self::UpstreamTimeout
            | Self::UpstreamError
            | Self::UpstreamBusy => false,
        }
    }

    /// A key was presented, and it is not good: what `limits.failures_per_ip` counts.
    pub const fn is_bad_key(self) -> bool {
        matches!(self.challenge(), Challenge::InvalidToken)
    }

    const fn face(self) -> Face {
        use Fault::{Client, Gateway, Upstream};
        match self {
            Self::MalformedRequest => {
                Face::new(400, "bad_request", "The request could not be read unambiguously.", Client)
            }
            Self::InsecureTransport => Face::new(403, "insecure_transport", INSECURE, Client),
            Self::IpLimited => Face::new(429, "rate_limited", "Too many requests from this address.", Client),
            Self::TotalLimited => {
                Face::new(429, "rate_limited", "The service is receiving too many requests.", Gateway)
            }
            Self::LockedOut => Face::new(429, "too_many_failures", LOCKED_OUT, Client),
            Self::NoRoute => Face::new(404, "not_found", "There is nothing at this address.", Client),
            Self::MethodNotAllowed => {
                Face::new(405, "method_not_allowed", "This resource does not take that method.", Client)
            }
            Self::MissingKey => Face::new(401, "missing_key", "An API key is required.", Client).with(Challenge::Plain),
            Self::DuplicateCredential => {
                Face::new(400, "duplicate_credential", "Send exactly one API key, in one place.", Client)
            }
            Self::MalformedKey
            | Self::BadChecksum
            | Self::UnknownKey
            | Self::Expired
            | Self::NotYetValid
            | Self::Disabled
            | Self::Revoked
            | Self::Compromised
            | Self::Honey
            | Self::RotatedOut
            | Self::Quarantined => {
                Face::new(401, "invalid_key", "The API key is not valid.", Client).with(Challenge::InvalidToken)
            }
            Self::RouteDenied | Self::MethodDenied | Self::PathDenied | Self::NetworkDenied | Self::RoleDenied => {
                Face::new(403, "forbidden", NOT_ENTITLED, Client).with(Challenge::InsufficientScope)
            }
            Self::Suspended => Face::new(429, "abnormal_usage", SUSPENDED, Client),
            Self::RateLimited => Face::new(429, "rate_limited", LIMIT_USED, Client),
            Self::QuotaExceeded => Face::new(429, "quota_exceeded", QUOTA_USED, Client),
            Self::ConcurrencyLimited => Face::new(429, "concurrency_limited", TOO_MANY_UNDERWAY, Client),
            Self::BodyTooLarge => Face::new(413, "body_too_large", TOO_LARGE, Client),
            Self::UpstreamUnavailable => Face::new(502, "upstream_unavailable", UNREACHABLE, Upstream),
            Self::UpstreamTimeout => Face::new(504, "upstream_timeout", LATE, Upstream),
            Self::UpstreamError => Face::new(502, "upstream_error", NONSENSE, Upstream),
            Self::UpstreamBusy => Face::new(503, "upstream_busy", BUSY, Upstream),
        }
    }
}

const INSECURE: &str = "Credentials are not accepted over an insecure connection; use https.";
const LOCKED_OUT: &str = "Too many refused credentials from this address; see Retry-After.";
const SUSPENDED: &str = "This API key is suspended after abnormal usage; see Retry-After.";
const NOT_ENTITLED: &str = "This API key does not entitle to this request.";
const LIMIT_USED: &str = "This API key has used up its limit; see Retry-After.";
const QUOTA_USED: &str = "This API key has used up its quota; see Retry-After.";
const TOO_MANY_UNDERWAY: &str = "This API key has too many requests underway.";
const TOO_LARGE: &str = "The request body is larger than this resource takes.";
const UNREACHABLE: &str = "The service behind the gateway cannot be reached.";
const LATE: &str = "The service behind the gateway did not answer in time.";
const NONSENSE: &str = "The service behind the gateway did not give a valid answer.";
const BUSY: &str = "Too many requests wait for the service behind the gateway.";

/// What the client sees of a refusal.
#[derive(Clone, Copy)]
struct Face {
    status: u16,
    code: &'static str,
    detail: &'static str,
    fault: Fault,
    challenge: Challenge,
}

impl Face {
    const fn new(status: u16, code: &'static str, detail: &'static str, fault: Fault) -> Self {
        Self { status, code, detail, fault, challenge: Challenge::None }
    }

    const fn with(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }
}

/// Which `WWW-Authenticate` a refusal carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// None.
    None,
    /// `Bearer realm="…"`
    Plain,
    /// with `error="invalid_token"`
    InvalidToken,
    /// with `error="insufficient_scope"`
    InsufficientScope,
}

impl Fault {
    /// The log's `fault`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// `grpc-status` for an HTTP status of ours (INTERFACE.md §4).
pub const fn grpc_status(http: u16) -> u8 {
    match http {
        401 => 16,
        403 => 7,
        429 => 8,
        404 | 405 => 12,
        400 | 413 => 13,
        _ => 14,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reasons_are_unique_and_every_bad_key_looks_the_same_to_the_client() {
        let reasons: HashSet<_> = Denial::ALL.iter().map(|d| d.reason()).collect();
        assert_eq!(reasons.len(), Denial::ALL.len());
        let faces: HashSet<_> = Denial::ALL
            .iter()
            .filter(|d| d.challenge() == Challenge::InvalidToken)
            .map(|d| (d.status(), d.code(), d.detail(), d.fault().as_str()))
            .collect();
        assert_eq!(faces.len(), 1);
    }

    #[test]
    fn statuses_and_codes_are_those_of_the_interface() {
        let table: HashSet<_> = Denial::ALL.iter().map(|d| (d.status(), d.code())).collect();
        let expected = HashSet::from([
            (400, "bad_request"),
            (403, "insecure_transport"),
            (429, "rate_limited"),
            (404, "not_found"),
            (405, "method_not_allowed"),
            (401, "missing_key"),
            (400, "duplicate_credential"),
            (401, "invalid_key"),
            (429, "too_many_failures"),
            (403, "forbidden"),
            (429, "abnormal_usage"),
            (429, "quota_exceeded"),
            (429, "concurrency_limited"),
            (413, "body_too_large"),
            (502, "upstream_unavailable"),
            (504, "upstream_timeout"),
            (502, "upstream_error"),
            (503, "upstream_busy"),
        ]);
        assert_eq!(table, expected);
    }

    #[test]
    fn grpc_statuses_are_those_of_the_interface() {
        for (http, grpc) in [(401, 16), (403, 7), (429, 8), (404, 12), (405, 12), (400, 13), (413, 13), (502, 14)] {
            assert_eq!(grpc_status(http), grpc);
        }
    }
}
