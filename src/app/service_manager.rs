//! What the system's service manager is told, by systemd's protocol. Where there is none, nothing happens.

use sd_notify::NotifyState;

/// The process serves.
pub(super) fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// The process ends.
pub(super) fn is_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// From now on another process is the service. It must be told before this one ends.
pub(super) fn is_followed_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
