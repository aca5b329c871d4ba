//! What one event says about delivery.

use crate::bus::CRITICAL;
use crate::event::Event;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ack,
    Nak,
    Redeliver,
    Role,
    Escalated,
    StepDone,
    Dead,
    Redriven,
    Loop,
}

/// Type numbers and names by what they say. Names of types on the bus have `delivery_` before them.
pub const TYPES: [(Kind, u8, &str); 9] = [
    (Kind::Ack, 112, "ack"),
    (Kind::Nak, 113, "nak"),
    (Kind::Redeliver, 114, "redeliver"),
    (Kind::Role, 115, "role"),
    (Kind::Escalated, 116, "escalated"),
    (Kind::StepDone, 117, "step_done"),
    (Kind::Dead, 118, "dead"),
    (Kind::Redriven, 119, "redriven"),
    (Kind::Loop, 120, "loop"),
];

impl Kind {
    /// Of a type number.
    #[inline]
    pub fn of(event_type: u8) -> Option<Kind> {
        let at = event_type.checked_sub(TYPES[0].1)?;
        TYPES.get(usize::from(at)).map(|(kind, _, _)| *kind)
    }

    pub fn of_name(name: &str) -> Option<Kind> {
        TYPES.iter().find(|(_, _, known)| *known == name).map(|(kind, _, _)| *kind)
    }

    /// Whether it is about one event.
    #[inline]
    pub fn is_note(self) -> bool {
        !matches!(self, Kind::Role | Kind::Loop)
    }

    pub fn name(self) -> &'static str {
        TYPES[self as usize].2
    }
}

/// Whether it is the number of a risk or critical type, whose events are followed.
#[inline]
pub fn followed_type(event_type: u8) -> bool {
    matches!(event_type, 64..96 | 128..)
}

/// A record about an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Note {
    pub kind: Kind,
    /// Of the event, on the critical lane.
    pub sequence: u64,
    /// Source number of the role.
    pub role: u16,
    pub value: f64,
    /// Nanoseconds since the epoch.
    pub time: u64,
}

/// The attempt in the value of a redelivery; the member is above it.
const ATTEMPT: u64 = 0xFFFF;

impl Note {
    /// What an event of a type of delivery says.
    #[inline]
    pub fn of(kind: Kind, event: &Event) -> Note {
        let value = match kind {
            Kind::Redeliver => (event.value as u64 & ATTEMPT) as f64,
            _ => event.value,
        };
        Note { kind, sequence: event.metadata, role: event.source, value, time: event.timestamp }
    }

    /// The value where it counts something.
    pub fn count(&self) -> u32 {
        self.value as u32
    }
}

/// Whether it is a risk or critical event on the critical lane.
#[inline]
pub fn is_followed(event: &Event) -> bool {
    usize::from(event.priority) == CRITICAL && followed_type(event.event_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_table() {
        for (at, (kind, number, name)) in TYPES.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!(Kind::of(number), Some(kind));
            assert_eq!(Kind::of_name(name), Some(kind));
            assert_eq!(kind.name(), name);
        }
        assert_eq!((Kind::of(111), Kind::of(121), Kind::of_name("other")), (None, None, None));
    }

    #[test]
    fn risk_and_critical_types_are_followed() {
        let followed: Vec<u8> = (0..=255).filter(|number| followed_type(*number)).collect();
        assert_eq!(followed.len(), 32 + 128);
        assert_eq!((followed[0], followed[31], followed[32]), (64, 95, 128));
    }

    #[test]
    fn an_attempt_is_told_without_its_member() {
        let event = Event { value: f64::from(3u32 << 16 | 7), ..Event::default() };
        assert_eq!(Note::of(Kind::Redeliver, &event).count(), 7);
        assert_eq!(Note::of(Kind::Ack, &event).count(), 3 << 16 | 7);
    }
}
