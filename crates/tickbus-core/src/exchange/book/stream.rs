//! One book of a connection: its levels, where it stands in the venue's numbers, and what that makes
//! of the next message.
//!
//! ```text
//!                 snapshot that bridges
//!   rebuilding ─────────────────────────▶ verified / unverified ◀──▶ stale (deadline, next message)
//!        ▲                                     │ a check fails
//!        └── recovery begun ── suspect ◀───────┘   (one NeedSnapshot, until it came, failed or timed out)
//! ```

use super::Book;
use super::buffer::Buffer;
use super::integrity::{Change, Counts, Integrity, Reason, What};
use super::rules::{Position, Rule, Step};
use super::shared::SharedTop;
use super::watch::{Signal, Thresholds, Watch};
use crate::exchange::depth::{Depth, DepthKind, DepthLevel};
use crate::exchange::symbol::Contract;
use std::sync::Arc;

/// Whether a snapshot is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    None,
    UnderWay { since_ns: u64 },
    Failed,
}

/// A book, whether it can be trusted, and what its messages came to.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    instrument: u32,
    symbol: Box<str>,
    limit: Option<u32>,
    rule: Rule,
    book: Book,
    contract: Contract,
    integrity: Integrity,
    /// What a stale book goes back to.
    before_stale: Integrity,
    position: Position,
    buffer: Buffer,
    recovery: Recovery,
    heard_ns: u64,
    counts: Counts,
    shared: Vec<Arc<SharedTop>>,
    watch: Option<Box<Watch>>,
    signals: Vec<Signal>,
}

/// One message, and what is known around it.
pub(super) struct Message<'a> {
    pub depth: &'a Depth,
    pub levels: &'a [DepthLevel],
    /// Whether its frame is one of a connection that numbers them all.
    pub is_numbered_frame: bool,
    pub now_ns: u64,
}

impl Message<'_> {
    fn bids(&self) -> &[DepthLevel] {
        &self.levels[self.depth.bids.start as usize..self.depth.bids.end as usize]
    }

    fn asks(&self) -> &[DepthLevel] {
        &self.levels[self.depth.asks.start as usize..self.depth.asks.end as usize]
    }

    fn len(&self) -> u64 {
        (self.depth.bids.len() + self.depth.asks.len()) as u64
    }
}

impl Stream {
    pub(super) fn new(number: u32, depth: &Depth, symbol: &str, rule: Rule) -> Stream {
        Stream {
            number,
            instrument: depth.instrument,
            symbol: symbol.into(),
            limit: depth.limit,
            rule,
            book: Book::new(),
            contract: Contract::Unknown,
            integrity: Integrity::Rebuilding,
            before_stale: Integrity::Unverified,
            position: Position::default(),
            buffer: Buffer::default(),
            recovery: Recovery::None,
            heard_ns: 0,
            counts: Counts::default(),
            shared: Vec::new(),
            watch: None,
            signals: Vec::new(),
        }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// Number of the instrument among the decoder's.
    pub fn instrument(&self) -> u32 {
        self.instrument
    }

    pub fn symbol(&self) -> &str {
        &self.symbol
    }

    /// Levels a side, where the subscription has a limit.
    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// The levels, trusted or not: see [`Stream::integrity`].
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What a size of 1 is.
    pub fn contract(&self) -> Contract {
        self.contract
    }

    pub fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// When the last message came, of any kind.
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns
    }

    /// The venue's id and time of the last message in the book.
    pub fn last_id(&self) -> Option<u64> {
        self.position.last_id
    }

    pub fn venue_time_ns(&self) -> Option<u64> {
        self.position.venue_time_ns
    }

    pub fn is_recovering(&self) -> bool {
        matches!(self.recovery, Recovery::UnderWay { .. })
    }

    pub fn counts(&self) -> Counts {
        Counts { kept: self.buffer.len() as u64, ..self.counts }
    }

    pub(super) fn set_contract(&mut self, contract: Contract) {
        self.contract = contract;
    }

    pub(super) fn needs_contract(&self) -> bool {
        self.contract == Contract::Unknown
    }

    /// The best levels from now on, for other threads. This stream alone writes there.
    pub(super) fn share(&mut self, levels: usize) -> Arc<SharedTop> {
        let shared = Arc::new(SharedTop::new(levels));
        self.shared.push(Arc::clone(&shared));
        self.publish();
        shared
    }

    pub(super) fn watch(&mut self, thresholds: Option<Thresholds>) {
        self.watch = thresholds.map(|thresholds| Box::new(Watch::new(thresholds)));
    }

    /// A trade of this instrument.
    pub(super) fn trade(&mut self, base_units: f64, now_ns: u64, changes: &mut Vec<Change>) {
        if let Some(watch) = &mut self.watch {
            watch.trade(base_units, now_ns, &mut self.signals);
            self.tell_signals(changes);
        }
    }

    fn tell_signals(&mut self, changes: &mut Vec<Change>) {
        let stream = self.number;
        let tell = |signal| Change { stream, what: What::Signal(signal) };
        changes.extend(self.signals.drain(..).map(tell));
    }

    /// Take one message.
    #[inline]
    pub(super) fn take(&mut self, message: &Message, changes: &mut Vec<Change>) {
        self.heard_ns = self.heard_ns.max(message.now_ns);
        self.counts.messages += 1;
        match message.depth.kind {
            DepthKind::Snapshot => self.snapshot(message, changes),
            DepthKind::Update => self.update(message, changes),
        }
        if let Some(watch) = &mut self.watch {
            let (integrity, contract) = (self.integrity, self.contract);
            watch.book(&self.book, integrity, contract, message.now_ns, &mut self.signals);
            self.tell_signals(changes);
        }
        if !self.shared.is_empty() {
            self.publish();
        }
    }

    fn update(&mut self, message: &Message, changes: &mut Vec<Change>) {
        if matches!(self.integrity, Integrity::Rebuilding | Integrity::Suspect) {
            self.keep(message);
            self.request(Reason::Opened, message.now_ns, changes);
            return;
        }
        match self.rule.step(&self.position, message.depth) {
            Step::Duplicate => {
                self.counts.duplicates += 1;
                self.revive(changes);
            }
            Step::Gap => self.reject(message, Reason::Gap, changes),
            Step::Backwards => self.reject(message, Reason::Backwards, changes),
            step => match self.apply(message, step) {
                Ok((to, reason)) => self.become_(to, reason, changes),
                Err(reason) => self.fail(reason, message.now_ns, changes),
            },
        }
    }

    /// Put an update into the book and check what comes out.
    #[inline]
    fn apply(&mut self, message: &Message, step: Step) -> Result<(Integrity, Reason), Reason> {
        self.counts.updates += 1;
        self.counts.levels += message.len();
        let applied = self.book.update(message.bids(), message.asks());
        applied.map_err(|_| Reason::PriceRange)?;
        self.settle(message)?;
        self.position.is_chained = true;
        let is_checked = step == Step::Follows
            || message.is_numbered_frame
            || self.checksum(message.depth).is_some();
        Ok(match is_checked {
            true => (Integrity::Verified, Reason::Checked),
            false => (Integrity::Unverified, Reason::Unchecked),
        })
    }

    /// What is to be done after levels came in, whichever way.
    #[inline]
    fn settle(&mut self, message: &Message) -> Result<(), Reason> {
        let depth = message.depth;
        if let Some(limit) = self.limit {
            self.book.cut(limit);
        }
        if let Some(checksum) = self.checksum(depth) {
            let found = match self.rule {
                Rule::Kraken => self.book.checksum_kraken(),
                _ => self.book.checksum_okx(),
            };
            if found != checksum {
                return Err(Reason::Checksum);
            }
            self.counts.checksums += 1;
        }
        if self.book.is_crossed() {
            return Err(Reason::Crossed);
        }
        self.position.last_id = depth.last_id.or(self.position.last_id);
        self.position.venue_time_ns = depth.venue_time_ns.or(self.position.venue_time_ns);
        Ok(())
    }

    /// The message's checksum, if this venue's can be checked.
    fn checksum(&self, depth: &Depth) -> Option<i64> {
        depth.checksum.filter(|_| matches!(self.rule, Rule::Kraken | Rule::Okx))
    }

    fn snapshot(&mut self, message: &Message, changes: &mut Vec<Change>) {
        let depth = message.depth;
        let by_request = self.rule.is_by_request(self.limit);
        let is_whole = self.rule.is_whole(self.limit);
        let (last, id) = (self.position.last_id, depth.last_id);
        let is_old = matches!((last, id), (Some(last), Some(id)) if id <= last);
        let stands = self.integrity.is_trusted() || self.integrity == Integrity::Stale;
        if stands && is_old && (by_request || is_whole || last == id) {
            self.counts.duplicates += 1;
            self.revive(changes);
            return;
        }
        self.counts.snapshots += 1;
        self.counts.levels += message.len();
        self.recovery = Recovery::None;
        // Its own numbers start here; an older time is no step back.
        self.position = Position::default();
        if self.book.replace(message.bids(), message.asks()).is_err() {
            return self.fail(Reason::PriceRange, message.now_ns, changes);
        }
        if let Err(reason) = self.settle(message) {
            return self.fail(reason, message.now_ns, changes);
        }
        let (to, reason) = if stands && is_old && id != Some(1) {
            (Integrity::Unverified, Reason::Reset)
        } else if self.rule == Rule::Coinbase && !message.is_numbered_frame {
            (Integrity::Unverified, Reason::Snapshot)
        } else {
            (Integrity::Verified, Reason::Snapshot)
        };
        match self.bridge(message) {
            Ok(()) => self.become_(to, reason, changes),
            // A snapshot from before what is kept: the next one may be new enough.
            Err(Reason::Gap) if !stands => self.request(Reason::Gap, message.now_ns, changes),
            Err(reason) => self.fail(reason, message.now_ns, changes),
        }
    }

    /// Put what was kept on top of the snapshot that just came.
    fn bridge(&mut self, snapshot: &Message) -> Result<(), Reason> {
        if self.buffer.len() == 0 {
            return Ok(());
        }
        let (kept, levels) = self.buffer.take();
        for (at, depth) in kept.iter().enumerate() {
            let message = Message { depth, levels: &levels, ..*snapshot };
            let failed = match self.rule.step(&self.position, depth) {
                Step::Duplicate => {
                    self.counts.duplicates += 1;
                    continue;
                }
                Step::Gap | Step::Backwards => Reason::Gap,
                step => match self.apply(&message, step) {
                    Ok(_) => continue,
                    Err(reason) => {
                        self.counts.updates -= 1;
                        self.counts.levels -= message.len();
                        reason
                    }
                },
            };
            for later in &kept[at..] {
                self.counts.dropped += self.buffer.keep(later, &levels) as u64;
            }
            return Err(failed);
        }
        Ok(())
    }

    /// A message that cannot be put into the book.
    fn reject(&mut self, message: &Message, reason: Reason, changes: &mut Vec<Change>) {
        // It may follow the snapshot that is asked for.
        self.keep(message);
        self.fail(reason, message.now_ns, changes);
    }

    fn keep(&mut self, message: &Message) {
        if !self.rule.is_by_request(self.limit) {
            self.counts.dropped += 1;
            return;
        }
        let lost = self.buffer.keep(message.depth, message.levels);
        self.counts.overflows += u64::from(lost > 0);
        self.counts.dropped += lost as u64;
    }

    /// What is in the book is wrong.
    fn fail(&mut self, reason: Reason, now_ns: u64, changes: &mut Vec<Change>) {
        self.counts.failures += 1;
        self.distrust(reason, now_ns, changes);
    }

    /// A rule is broken: nobody is to read this book until a snapshot came.
    pub(super) fn distrust(&mut self, reason: Reason, now_ns: u64, changes: &mut Vec<Change>) {
        self.become_(Integrity::Suspect, reason, changes);
        self.request(reason, now_ns, changes);
        self.publish();
    }

    /// Something was lost that nobody can name, on a connection without numbers.
    pub(super) fn lost_frame(&mut self, now_ns: u64, changes: &mut Vec<Change>) {
        let stands = self.integrity.is_trusted() || self.integrity == Integrity::Stale;
        if stands && !self.rule.is_numbered(&self.position) && !self.rule.is_whole(self.limit) {
            self.fail(Reason::Malformed, now_ns, changes);
        }
    }

    /// Ask for a snapshot, unless one is on its way.
    fn request(&mut self, reason: Reason, now_ns: u64, changes: &mut Vec<Change>) {
        if !self.is_recovering() {
            self.recovery = Recovery::UnderWay { since_ns: now_ns };
            self.counts.recoveries += 1;
            changes.push(Change { stream: self.number, what: What::NeedSnapshot { reason } });
        }
    }

    /// The owner has sent its request.
    pub(super) fn recovery_begun(&mut self, changes: &mut Vec<Change>) {
        if self.integrity == Integrity::Suspect {
            self.become_(Integrity::Rebuilding, Reason::Recovery, changes);
            self.publish();
        }
    }

    /// The owner could not get a snapshot: the next message, or the next look at the clock, asks again.
    pub(super) fn recovery_failed(&mut self) {
        if self.is_recovering() {
            self.recovery = Recovery::Failed;
        }
    }

    /// What the clock says.
    pub(super) fn tick(
        &mut self,
        now_ns: u64,
        stale_after_ns: Option<u64>,
        recovery_ns: u64,
        changes: &mut Vec<Change>,
    ) {
        let silent_ns = now_ns.saturating_sub(self.heard_ns);
        if self.integrity.is_trusted() && stale_after_ns.is_some_and(|limit| silent_ns > limit) {
            self.before_stale = self.integrity;
            self.become_(Integrity::Stale, Reason::Deadline, changes);
            self.publish();
        }
        let is_over = match self.recovery {
            Recovery::None => false,
            Recovery::UnderWay { since_ns } => now_ns.saturating_sub(since_ns) > recovery_ns,
            Recovery::Failed => true,
        };
        if is_over && matches!(self.integrity, Integrity::Suspect | Integrity::Rebuilding) {
            self.recovery = Recovery::Failed;
            self.request(Reason::Deadline, now_ns, changes);
        }
    }

    /// Something else on the connection says that nothing new happened here.
    pub(super) fn alive(&mut self, now_ns: u64, changes: &mut Vec<Change>) {
        self.heard_ns = self.heard_ns.max(now_ns);
        if self.integrity == Integrity::Stale {
            self.revive(changes);
            self.publish();
        }
        for shared in &self.shared {
            shared.heard(self.heard_ns);
        }
    }

    fn revive(&mut self, changes: &mut Vec<Change>) {
        if self.integrity == Integrity::Stale {
            self.become_(self.before_stale, Reason::Checked, changes);
        }
    }

    /// Everything from before is void: the connection is a new one. Where snapshots come in band, its
    /// subscription is the request for one.
    pub(super) fn reconnected(&mut self, now_ns: u64, changes: &mut Vec<Change>) {
        self.counts.dropped += self.buffer.clear() as u64;
        self.position = Position::default();
        self.recovery = match self.rule.is_by_request(self.limit) {
            true => Recovery::None,
            false => Recovery::UnderWay { since_ns: now_ns },
        };
        self.become_(Integrity::Rebuilding, Reason::Reconnected, changes);
        self.publish();
    }

    #[inline]
    fn become_(&mut self, to: Integrity, reason: Reason, changes: &mut Vec<Change>) {
        if self.integrity != to {
            let what = What::Integrity { from: self.integrity, to, reason };
            self.integrity = to;
            changes.push(Change { stream: self.number, what });
        }
    }

    fn publish(&mut self) {
        for shared in &self.shared {
            shared.publish(&self.book, self.integrity, self.contract);
            shared.heard(self.heard_ns);
        }
    }
}
