//! What the service manager is told (sd_notify(3)), where there is one: `NOTIFY_SOCKET` says so.

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything is served.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Files are read again, until [`ready`]. The time tells the manager which of its requests this answers
/// (`Type=notify-reload`).
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// The drain has begun.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// All is well.
pub fn is_alive() {
    notify(&[NotifyState::Watchdog]);
}

/// After how long without [`is_alive`] the manager gives the process up, if it looks after it at all (`WatchdogSec=`).
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "notify_failed", error = %error);
    }
}
