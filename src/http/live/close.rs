//! Why a live socket is closed: each reason with its code, in one table, which the page of the protocol has too. Codes of
//! the protocol itself (RFC 6455, 7.4.1) are used where they say enough; those from 4000 on are ours.

use actix_http::ws::{CloseCode, CloseReason};

/// The longest reason, in bytes (RFC 6455, 5.5).
const LONGEST: usize = 123;

/// The reason of a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Normal,
    Stopping,
    Protocol,
    NotText,
    KeyRevoked,
    KeyExpired,
    SessionOver,
    RightsChanged,
    SlowFrame,
    TooLarge,
    NoRoom,
    SlowReader,
    Unanswered,
    Flood,
}

impl Close {
    #[cfg(test)]
    const ALL: [Self; 14] = [
        Self::Normal,
        Self::Stopping,
        Self::Protocol,
        Self::NotText,
        Self::KeyRevoked,
        Self::KeyExpired,
        Self::SessionOver,
        Self::RightsChanged,
        Self::SlowFrame,
        Self::TooLarge,
        Self::NoRoom,
        Self::SlowReader,
        Self::Unanswered,
        Self::Flood,
    ];

    /// The code, and the reason in words.
    const fn entry(self) -> (u16, &'static str) {
        match self {
            Self::Normal => (1000, "as the client closed it"),
            Self::Stopping => (1001, "the server stops"),
            Self::Protocol => (1002, "a frame is against the protocol"),
            Self::NotText => (1007, "a text frame is not UTF-8"),
            Self::KeyRevoked => (1008, "the key was revoked"),
            Self::KeyExpired => (1008, "the key has expired"),
            Self::SessionOver => (1008, "the session is over"),
            Self::RightsChanged => (1008, "what the key or the session may do has changed; open another"),
            Self::SlowFrame => (1008, "a frame did not come in time"),
            Self::TooLarge => (1009, "a frame is larger than may be"),
            Self::NoRoom => (1013, "too many frames are on their way; try again"),
            Self::SlowReader => (4008, "slow reader: more bytes wait than may"),
            Self::Unanswered => (4009, "pings were not answered"),
            Self::Flood => (4029, "too many frames a second"),
        }
    }

    pub(super) const fn code(self) -> u16 {
        self.entry().0
    }

    pub(super) const fn says(self) -> &'static str {
        self.entry().1
    }

    /// The close message.
    pub(super) fn reason(self) -> CloseReason {
        self.because(self.says())
    }

    /// The close message in more words, as far as there is room for them.
    pub(super) fn because(self, words: &str) -> CloseReason {
        let words = &words[..words.floor_char_boundary(LONGEST)];
        CloseReason { code: CloseCode::from(self.code()), description: Some(words.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_code_with_its_reason_and_no_other() {
        let page = include_str!("../../../docs/live.md");
        let rows: Vec<_> = Close::ALL.map(|close| format!("| {} | {} |", close.code(), close.says())).into();
        for row in &rows {
            assert!(page.contains(row.as_str()), "docs/live.md has no row {row}");
        }
        let is_code = |line: &&str| line.get(..3).is_some_and(|start| ["| 1", "| 4"].contains(&start));
        assert_eq!(page.lines().filter(is_code).count(), rows.len());
        assert_eq!(u16::from(Close::Flood.reason().code), 4029);
        let long = Close::Protocol.because(&"\u{e9}".repeat(100));
        assert_eq!(long.description, Some("\u{e9}".repeat(61)));
    }
}
