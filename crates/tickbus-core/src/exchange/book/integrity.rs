//! What is known of a book, and what is said when that changes.

use super::watch::Signal;

/// How far a book can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Integrity {
    /// There is no snapshot yet, or the connection has begun to get a new one.
    Rebuilding,
    /// By the venue's own numbers or checksums nothing is missing.
    Verified,
    /// Nothing is known to be missing, but the venue gives nothing to tell by.
    Unverified,
    /// A check has failed: the book is wrong, or may be.
    Suspect,
    /// Nothing was heard for too long.
    Stale,
}

impl Integrity {
    pub const ALL: [Integrity; 5] = [
        Integrity::Rebuilding,
        Integrity::Verified,
        Integrity::Unverified,
        Integrity::Suspect,
        Integrity::Stale,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Integrity::Rebuilding => "rebuilding",
            Integrity::Verified => "verified",
            Integrity::Unverified => "unverified",
            Integrity::Suspect => "suspect",
            Integrity::Stale => "stale",
        }
    }

    /// Whether the levels are the venue's, as far as anybody knows.
    pub const fn is_trusted(self) -> bool {
        matches!(self, Integrity::Verified | Integrity::Unverified)
    }
}

/// Why a book's integrity changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The first message of this book.
    Opened,
    /// A snapshot came, and what was kept since bridges it.
    Snapshot,
    /// A message proved that nothing is missing.
    Checked,
    /// A message came with nothing to check it by.
    Unchecked,
    /// Ids show that messages are missing, or came out of order.
    Gap,
    /// The frames of the whole connection are numbered, and some are missing.
    ConnectionGap,
    /// The venue's checksum is not the book's.
    Checksum,
    /// The best bid is at or above the best ask.
    Crossed,
    /// A frame could not be read, and nothing would show what was in it.
    Malformed,
    /// A message is older than the one before.
    Backwards,
    /// A snapshot with an older number than the book's: the venue may have started again.
    Reset,
    /// A price cannot be told beside the others.
    PriceRange,
    /// Nothing was heard for too long.
    Deadline,
    /// The owner has begun to get a snapshot.
    Recovery,
    /// The connection is a new one.
    Reconnected,
}

impl Reason {
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Opened => "opened",
            Reason::Snapshot => "snapshot",
            Reason::Checked => "checked",
            Reason::Unchecked => "unchecked",
            Reason::Gap => "gap",
            Reason::ConnectionGap => "connection_gap",
            Reason::Checksum => "checksum",
            Reason::Crossed => "crossed",
            Reason::Malformed => "malformed",
            Reason::Backwards => "backwards",
            Reason::Reset => "reset",
            Reason::PriceRange => "price_range",
            Reason::Deadline => "deadline",
            Reason::Recovery => "recovery",
            Reason::Reconnected => "reconnected",
        }
    }
}

/// Something the owner of a connection has to know of one of its books.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Number of the book among the connection's.
    pub stream: u32,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    Integrity {
        from: Integrity,
        to: Integrity,
        reason: Reason,
    },
    /// Get a snapshot, or subscribe again. Told once until that has succeeded, failed or timed out.
    NeedSnapshot { reason: Reason },
    /// A figure of the book or its trades passed a threshold.
    Signal(Signal),
}

/// What the messages of one book came to: `messages` = `snapshots` + `updates` + `duplicates` +
/// `dropped` + `kept`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub messages: u64,
    pub snapshots: u64,
    pub updates: u64,
    /// Told before: ids at or below the book's.
    pub duplicates: u64,
    /// Times that a rule was broken.
    pub failures: u64,
    /// Did not follow, or came while the book was not trusted: a snapshot replaces them.
    pub dropped: u64,
    /// Kept until a snapshot bridges them, and not yet counted elsewhere.
    pub kept: u64,
    /// Levels set or taken away.
    pub levels: u64,
    /// Checksums that were right.
    pub checksums: u64,
    /// Snapshots asked for.
    pub recoveries: u64,
    /// Times that more was to be kept than there is room for.
    pub overflows: u64,
}
