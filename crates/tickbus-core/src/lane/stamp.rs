//! The stamp of a slot: one word that says which event the slot holds and how far its copy got.
//!
//! ```text
//!  63            16 15     8 7      2 1     0
//! [ lap + 1, 48 b ][ owner  ][  aux  ][ state ]
//! ```
//!
//! The slot's index is where the stamp stands, so the stamp needs only the lap: how often the
//! sequence went round the ring. Stored plus one, all-zero memory reads "nothing yet", and a fresh
//! mapping needs no initialising. **Sequences do not wrap in practice**: with the smallest ring
//! allowed (64 slots) 48 bits of lap are 2^54 events, 5.7 years at 100 million a second; with the
//! default 65,536 slots more than 5,000 years.

/// A stamp as stored in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(pub u64);

/// How far the copy into the slot got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The slot holds the event.
    Done,
    /// First slot of a claim of `len` events; they are in the owner's staging area.
    Head { owner: u8, len: u64 },
    /// A later slot of a claim; the event is entry `index` of the owner's staging area.
    Body { owner: u8, index: usize },
}

const DONE: u64 = 0;
const HEAD: u64 = 1;
const BODY: u64 = 2;

/// Events per claim at most: what six bits of `aux` can count.
pub const MAX_CLAIM: usize = 64;

impl Stamp {
    #[inline]
    pub const fn done(lap: u64) -> Stamp {
        Stamp((lap + 1) << 16 | DONE)
    }

    /// A finished event of the lap before `lap`, or nothing yet: the slot is free for `lap`.
    #[inline]
    pub const fn done_before(lap: u64) -> Stamp {
        Stamp(lap << 16 | DONE)
    }

    #[inline]
    pub const fn head(lap: u64, owner: u8, len: usize) -> Stamp {
        Stamp((lap + 1) << 16 | (owner as u64) << 8 | (len as u64 - 1) << 2 | HEAD)
    }

    #[inline]
    pub const fn body(lap: u64, owner: u8, index: usize) -> Stamp {
        Stamp((lap + 1) << 16 | (owner as u64) << 8 | (index as u64) << 2 | BODY)
    }

    /// Lap of the event in the slot plus one; 0 when there never was one.
    #[inline]
    pub const fn laps(self) -> u64 {
        self.0 >> 16
    }

    #[inline]
    pub const fn is_done(self) -> bool {
        self.0 & 3 == DONE
    }

    pub const fn state(self) -> State {
        let owner = (self.0 >> 8) as u8;
        let aux = self.0 >> 2 & 63;
        match self.0 & 3 {
            DONE => State::Done,
            HEAD => State::Head { owner, len: aux + 1 },
            _ => State::Body { owner, index: aux as usize },
        }
    }

    /// Who still has to finish this slot's copy.
    pub const fn owner(self) -> Option<u8> {
        match self.state() {
            State::Done => None,
            State::Head { owner, .. } | State::Body { owner, .. } => Some(owner),
        }
    }

    /// How many events a walker that sees this stamp may step over. Interiors of a claim are
    /// marked last to first, so after an interior the next slot is marked already.
    #[inline]
    pub const fn stride(self) -> u64 {
        match self.state() {
            State::Head { len, .. } => len,
            State::Done | State::Body { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_memory_is_a_finished_lap_before_the_first() {
        assert!(Stamp(0).is_done());
        assert_eq!(Stamp(0).laps(), 0);
        assert_eq!(Stamp::done(0).laps(), 1);
    }

    #[test]
    fn what_goes_in_comes_out() {
        let lap = (1 << 48) - 2;
        assert_eq!(Stamp::done(lap).state(), State::Done);
        assert_eq!(Stamp::head(lap, 255, 64).state(), State::Head { owner: 255, len: 64 });
        assert_eq!(Stamp::body(lap, 7, 63).state(), State::Body { owner: 7, index: 63 });
        for stamp in [
            Stamp::done(lap),
            Stamp::head(lap, 255, 64),
            Stamp::body(lap, 7, 63),
        ] {
            assert_eq!(stamp.laps(), lap + 1);
        }
    }
}
