//! What was sealed or packed comes back to the bit, with its sequences, gaps and records; whatever is
//! wrong with a file is told, with the place and the sequences it costs.

#![cfg(not(loom))]

mod segments;

use proptest::prelude::*;
use segments::*;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tickbus_core::journal::columns::Columns;
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::{Directory, Form, NEW};
use tickbus_core::journal::query::Segment;
use tickbus_core::journal::sealed::{Sealed, seal};
use tickbus_core::journal::segment::{Gap, Identity, Piece, Source};
use tickbus_core::{Event, Priority};

proptest! {
    #[test]
    fn sealed_and_packed_hold_what_the_log_held(log in any_log()) {
        let folder = tempfile::tempdir().unwrap();
        let sealed = sealed(folder.path(), &log);
        prop_assert_eq!(read_events(&sealed).unwrap(), log.events());
        prop_assert_eq!(sealed.opened().gaps(), log.gaps());
        prop_assert_eq!(read_records(sealed.opened()).unwrap(), log.records());
        prop_assert_eq!(sealed.opened().layout().identity, log.identity);
        let packed = packed(folder.path(), &log);
        prop_assert_eq!(read_events(&packed).unwrap(), log.events());
        prop_assert_eq!(packed.opened().gaps(), log.gaps());
        prop_assert_eq!(read_records(packed.opened()).unwrap(), log.records());
        prop_assert_eq!(packed.opened().layout().identity, log.identity);
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert_eq!(names.pop().unwrap().into_string().unwrap(), Form::Packed.name(log.identity.first_position));
        prop_assert!(names.is_empty());
    }

    /// The first event from a sequence on, also when that sequence is missing.
    #[test]
    fn sequences_lead_to_their_events(log in any_log(), beyond in 0u64..100) {
        let folder = tempfile::tempdir().unwrap();
        let sealed = sealed(folder.path(), &log);
        for lane in tickbus_core::event::PRIORITIES {
            let events: Vec<_> = log.events().into_iter().filter(|(of, ..)| *of == lane).collect();
            let next = sealed.opened().next_sequence(lane);
            let asked = events.iter().flat_map(|(_, sequence, _)| [*sequence, sequence + 1]);
            for sequence in asked.chain([0, next, next + beyond]) {
                let expected = events.partition_point(|(_, found, _)| *found < sequence);
                prop_assert_eq!(sealed.opened().row(lane, sequence), expected as u64);
            }
        }
    }

    /// Long enough that a codec is chosen for what most events are and meets those that are not.
    #[test]
    fn frames_come_back_to_the_bit(
        usual in 0usize..3_000, wild in prop::collection::vec((any_event(), any::<prop::sample::Index>()), 0..40),
        backwards: bool,
    ) {
        let mut events = ticks(usual, 1 << 60);
        if backwards {
            events.reverse();
        }
        for (event, at) in wild {
            events.insert(at.index(events.len() + 1), event);
        }
        let rows: Vec<u8> = events.iter().flat_map(Event::to_bytes).collect();
        let (mut columns, mut frame, mut back) = (Columns::default(), Vec::new(), Vec::new());
        columns.encode(&rows, &mut frame).unwrap();
        columns.decode(&frame, events.len(), &mut back).unwrap();
        prop_assert!(back == rows);
    }

    /// A frame that is none must not take the reader with it, whatever the checksum said.
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0usize..50) {
        Columns::default().decode(&bytes, count, &mut Vec::new());
    }

    #[test]
    fn no_change_of_a_frame_makes_decoding_panic(
        events in prop::collection::vec(any_event(), 1..50), at: prop::sample::Index, byte: u8,
    ) {
        let rows: Vec<u8> = events.iter().flat_map(Event::to_bytes).collect();
        let mut frame = Vec::new();
        Columns::default().encode(&rows, &mut frame).unwrap();
        *at.get_mut(&mut frame) = byte;
        Columns::default().decode(&frame, events.len(), &mut Vec::new());
    }
}

/// More than a frame, so that blocks and frames end in the middle.
#[test]
fn long_segments_come_back_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut wild = ticks(70_000, 5_000);
    wild[65_536].timestamp = u64::MAX;
    wild[65_537].value = f64::NAN;
    let pieces = vec![
        Owned::Events(Priority::High, wild),
        Owned::Gap(Priority::High, 1 << 50, 3),
        Owned::Events(Priority::Normal, ticks(4_096, 9)),
        Owned::Record(4, vec![7; 3 << 20]),
        Owned::Events(Priority::High, ticks(1, 2)),
    ];
    let log = Log::new(4_096, [1, 1 << 40, 0], pieces);
    assert_eq!(read_events(&sealed(folder.path(), &log)).unwrap(), log.events());
    let packed = packed(folder.path(), &log);
    assert_eq!(read_events(&packed).unwrap(), log.events());
    assert_eq!(read_records(packed.opened()).unwrap(), log.records());
    assert_eq!(packed.opened().next_sequence(Priority::High), (1 << 40) + 70_001 + (1 << 50));
    assert!(faults_of_packed(folder.path(), 4_096).is_empty());
}

/// A small segment with something in every part.
fn small() -> Log {
    let pieces = vec![
        Owned::Record(1, b"BTC-USD".to_vec()),
        Owned::Events(Priority::High, ticks(40, 1_000)),
        Owned::Gap(Priority::High, 5, 2),
        Owned::Events(Priority::Critical, ticks(3, 2_000)),
        Owned::Events(Priority::High, ticks(20, 3_000)),
    ];
    Log::new(12, [0, 100, 7], pieces)
}

type Faults = fn(&Path, u64) -> Vec<SegmentError>;

/// The forms, their bytes on a healthy disk, and how to look for faults.
fn forms(folder: &Path) -> [(std::path::PathBuf, Faults); 2] {
    sealed(folder, &small());
    let kept = fs::read(folder.join(Form::Sealed.name(12))).unwrap();
    packed(folder, &small());
    fs::write(folder.join(Form::Sealed.name(12)), kept).unwrap();
    let (one, other): (Faults, Faults) = (faults_of_sealed, faults_of_packed);
    [
        (folder.join(Form::Sealed.name(12)), one),
        (folder.join(Form::Packed.name(12)), other),
    ]
}

/// Filling is long and all alike: every 509th bit of it stands for the others.
#[test]
fn every_flipped_bit_is_told() {
    flip_bits(509);
}

#[test]
#[ignore = "every bit of the filling as well: half a minute"]
fn really_every_flipped_bit_is_told() {
    flip_bits(1);
}

fn flip_bits(step_in_filling: usize) {
    let folder = tempfile::tempdir().unwrap();
    for (path, faults) in forms(folder.path()) {
        let healthy = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(faults(folder.path(), 12).is_empty());
        for bit in 0..healthy.len() * 8 {
            let around = &healthy[(bit / 8).saturating_sub(64)..healthy.len().min(bit / 8 + 64)];
            if around.iter().all(|byte| *byte == 0) && bit % step_in_filling != 0 {
                continue;
            }
            let (byte, at) = (healthy[bit / 8], bit as u64 / 8);
            file.write_all_at(&[byte ^ 1 << (bit % 8)], at).unwrap();
            assert!(!faults(folder.path(), 12).is_empty(), "{}: bit {bit}", path.display());
            file.write_all_at(&[byte], at).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), healthy);
    }
}

#[test]
fn every_truncation_and_extension_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (path, faults) in forms(folder.path()) {
        let healthy = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        for length in (0..healthy.len() as u64).rev() {
            file.set_len(length).unwrap();
            let found = faults(folder.path(), 12);
            assert!(matches!(found[..], [SegmentError::Damaged(_)]), "{length}: {found:?}");
        }
        for longer in [1, 4_095, 4_096, 8_192] {
            let extended = [&healthy[..], &vec![0; longer]].concat();
            fs::write(&path, extended).unwrap();
            assert!(!faults(folder.path(), 12).is_empty());
        }
        fs::write(&path, &healthy).unwrap();
        assert!(faults(folder.path(), 12).is_empty());
    }
}

#[test]
fn damage_names_file_place_lane_and_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::new(
        0,
        [0, 10, 0],
        vec![
            Owned::Events(Priority::High, ticks(5_000, 1)),
            Owned::Gap(Priority::High, 7, 1),
            Owned::Events(Priority::High, ticks(200_000, 9_000)),
        ],
    );
    let segment = sealed(folder.path(), &log);
    let path = folder.path().join(Form::Sealed.name(0));
    let offset = segment.lane(Priority::High).offset;
    let mut bytes = fs::read(&path).unwrap();
    bytes[(offset + 4_096 * 32 + 5) as usize] ^= 16;
    fs::write(&path, &bytes).unwrap();
    let found = faults_of_sealed(folder.path(), 0);
    let [SegmentError::Damaged(damage)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(damage.path, path);
    assert_eq!(damage.offset, offset + 4_096 * 32);
    assert_eq!(damage.lane, Some(Priority::High));
    // The second block begins at place 4,096 and has the gap inside.
    assert_eq!(damage.sequences, Some((10 + 4_096, 10 + 8_191 + 7)));
    assert!(found[0].to_string().contains("high lane, sequences 4106 to 8208"), "{}", found[0]);

    bytes[(offset + 4_096 * 32 + 5) as usize] ^= 16;
    fs::write(&path, &bytes).unwrap();
    let segment = packed(folder.path(), &log);
    let second =
        segment.opened().layout().frames.offset + segment.opened().layout().frames.length - 1;
    let path = folder.path().join(Form::Packed.name(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[second as usize] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let found = faults_of_packed(folder.path(), 0);
    let SegmentError::Damaged(damage) = &found[0] else {
        panic!("{found:?}")
    };
    assert_eq!(damage.sequences, Some((10 + 7 + 3 * 65_536, 10 + 7 + 204_999)));
}

#[test]
fn a_segment_under_another_ones_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    sealed(folder.path(), &small());
    let name = |first| folder.path().join(Form::Sealed.name(first));
    fs::rename(name(12), name(13)).unwrap();
    assert!(matches!(Sealed::open(folder.path(), 13), Err(SegmentError::Foreign { .. })));
    fs::rename(name(13), folder.path().join(Form::Packed.name(12))).unwrap();
    let found = faults_of_packed(folder.path(), 12);
    assert!(matches!(found[..], [SegmentError::Foreign { .. }]), "{found:?}");
}

#[test]
fn a_file_cut_while_it_is_read_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    let segment = sealed(folder.path(), &small());
    let path = folder.path().join(Form::Sealed.name(12));
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4_096).unwrap();
    assert!(matches!(read_events(&segment), Err(SegmentError::Damaged(_))));
}

/// A source that says what it likes.
struct Lying {
    counts: [u64; 3],
    pieces: Vec<(u64, Vec<Event>)>,
    gap: Option<Gap>,
}

impl Source for Lying {
    fn identity(&self) -> Identity {
        small().identity
    }

    fn counts(&self) -> [u64; 3] {
        self.counts
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError> {
        if let Some(gap) = self.gap.take() {
            return Ok(Some(Piece::Gap(gap)));
        }
        let place = self.pieces.iter().position(|(_, events)| !events.is_empty());
        let Some(place) = place else { return Ok(None) };
        let (first, events) = self.pieces.remove(place);
        self.pieces.insert(place, (first, Vec::new()));
        let events: &'static [Event] = events.leak();
        Ok(Some(Piece::Events { lane: Priority::High, first, events }))
    }
}

/// Nothing is written of a log that contradicts itself: a hole, an event twice, too many, too few.
#[test]
fn a_hole_in_the_log_is_refused_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |announced: u64, pieces: &[(u64, Range<usize>)], gap: Option<Gap>| {
        let all = ticks(100, 0);
        let pieces = pieces.iter().map(|(first, of)| (*first, all[of.clone()].to_vec())).collect();
        let mut source = Lying { counts: [0, announced, 0], pieces, gap };
        let result = seal(&Directory(folder.path().into()), &mut source);
        assert!(matches!(result, Err(SegmentError::Source { .. })), "{result:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    };
    refuse(20, &[(100, 0..10), (111, 10..20)], None);
    refuse(20, &[(100, 0..10), (109, 10..20)], None);
    refuse(20, &[(100, 0..10), (110, 10..21)], None);
    refuse(20, &[(100, 0..10), (110, 10..19)], None);
    refuse(10, &[(99, 0..10)], None);
    let gap = |first, count| Some(Gap { lane: Priority::High, first, count, why: 0 });
    refuse(10, &[(105, 0..10)], gap(101, 4));
    refuse(10, &[(105, 0..10)], gap(100, u64::MAX));
}

/// Ranges of a lane, as whoever maps the file needs them.
#[test]
fn lanes_are_contiguous_rows_at_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let segment = sealed(folder.path(), &small());
    let bytes = fs::read(folder.path().join(Form::Sealed.name(12))).unwrap();
    let lane = segment.lane(Priority::High);
    assert_eq!((lane.offset % 4_096, lane.count), (0, 60));
    let expected: Vec<u8> = [ticks(40, 1_000), ticks(20, 3_000)]
        .concat()
        .iter()
        .flat_map(Event::to_bytes)
        .collect();
    assert_eq!(bytes[lane.offset as usize..][..60 * 32], expected);
    assert_eq!(segment.span(Priority::Normal).count, 0);
}

#[test]
fn a_leftover_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let leftover = folder.path().join(Form::Sealed.name(12) + NEW);
    fs::write(&leftover, vec![0xff; 1 << 20]).unwrap();
    assert_eq!(read_events(&sealed(folder.path(), &small())).unwrap(), small().events());
    assert!(!leftover.exists());
}
