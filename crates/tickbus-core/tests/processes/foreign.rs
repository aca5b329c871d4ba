//! Something else stands under a bus's name. It is refused with what was found, by however many come
//! at once, and stays as it is.

use super::stage::{Child, Orders, Role, SIZES, Stage, open};
use rustix::fs::{AtFlags, CWD, FileType, Mode, chownat, mknodat};
use rustix::process::{Gid, Uid};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use tickbus_core::error::BusError;
use tickbus_core::lane::layout::{Foreign, Layout};
use xxhash_rust::xxh3::xxh3_64;

pub const ROLES: &[Role] = &[Role { name: "try", play: try_to_open }];

fn try_to_open(orders: &Orders) {
    let error = open(&orders.bus).err().expect("refused");
    orders.say(&format!("{error:?}"));
    orders.hear();
}

/// A header's words: magic, checksum, version, cells, three lanes, payload cells, boot.
type Header = [u64; 9];
const VERSION: usize = 2;
const CELLS: usize = 3;
const CRITICAL: usize = 6;
const BOOT: usize = 8;

fn read(path: &str) -> Header {
    let bytes = std::fs::read(path).expect("a bus");
    std::array::from_fn(|i| u64::from_le_bytes(bytes[i * 8..][..8].try_into().unwrap()))
}

/// A good bus's header with one word changed, and perhaps the checksum made right again.
fn change(path: &str, at: usize, word: u64, forged: bool) {
    let mut header = read(path);
    header[at] = word;
    if forged {
        let described: Vec<u8> = header[2..].iter().flat_map(|word| word.to_le_bytes()).collect();
        header[1] = xxh3_64(&described);
    }
    let mut bytes = std::fs::read(path).unwrap();
    for (place, word) in bytes.chunks_exact_mut(8).zip(header) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

fn resize(path: &str, bytes: impl Fn(u64) -> u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(bytes(file.metadata().unwrap().len())).unwrap();
}

/// Everything about what stands under a path.
fn state_of(path: &str) -> (u64, u64, u32, u32, i64, i64, Option<Vec<u8>>) {
    let there = std::fs::symlink_metadata(path).expect("it is there");
    let bytes = there.is_file().then(|| std::fs::read(path).unwrap());
    let (changed_s, changed_ns) = (there.ctime(), there.ctime_nsec());
    (there.ino(), there.size(), there.mode(), there.uid(), changed_s, changed_ns, bytes)
}

/// What stands there instead of a bus, and how it is refused. Half of them are changed buses.
struct Case {
    what: &'static str,
    make: fn(&str),
    refused: fn(&Foreign) -> bool,
}

const NO_BUS: fn(&Foreign) -> bool = |why| matches!(why, Foreign::NotABus { .. });

const CASES: &[Case] = &[
    Case { what: "an empty file", make: |path| std::fs::write(path, "").unwrap(), refused: NO_BUS },
    Case {
        what: "a text",
        make: |path| std::fs::write(path, "precious".repeat(4096)).unwrap(),
        refused: |why| *why == Foreign::NotABus { magic: u64::from_le_bytes(*b"precious") },
    },
    Case {
        what: "a magic and nothing else",
        make: |path| std::fs::write(path, b"tickbus\0").unwrap(),
        refused: NO_BUS,
    },
    Case { what: "a folder", make: |path| std::fs::create_dir(path).unwrap(), refused: NO_BUS },
    Case { what: "a link", make: |path| symlink("/dev/null", path).unwrap(), refused: NO_BUS },
    Case {
        what: "a pipe",
        make: |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        refused: NO_BUS,
    },
    Case { what: "a socket", make: |path| drop(UnixListener::bind(path)), refused: NO_BUS },
    Case {
        what: "an older layout",
        make: |path| change(path, VERSION, 0, true),
        refused: |why| matches!(why, Foreign::Version { found: 0, known: 1.. }),
    },
    Case {
        what: "a newer layout",
        make: |path| change(path, VERSION, 1 << 40, false),
        refused: |why| matches!(why, Foreign::Version { found: 0x100_0000_0000, .. }),
    },
    Case {
        what: "a flipped bit",
        make: |path| change(path, CRITICAL, read(path)[CRITICAL] ^ 1 << 33, false),
        refused: |why| matches!(why, Foreign::Corrupt { found, expected } if found != expected),
    },
    Case {
        what: "a header that says more than there is",
        make: |path| change(path, CELLS, read(path)[CELLS] + 512, true),
        refused: |why| matches!(why, Foreign::Length { found, expected } if found < expected),
    },
    Case {
        what: "sizes that take more than there is",
        make: |path| change(path, CRITICAL, 1 << 20, true),
        refused: |why| matches!(why, Foreign::Length { found, expected } if found < expected),
    },
    Case {
        what: "sizes that no bus has",
        make: |path| change(path, CRITICAL, 65, true),
        refused: |why| matches!(why, Foreign::Length { expected: 0, .. }),
    },
    Case {
        what: "a bus cut short",
        make: |path| resize(path, |len| len - 4096),
        refused: |why| matches!(why, Foreign::Length { found, expected } if found + 512 == *expected),
    },
    Case {
        what: "a bus cut to its header",
        make: |path| resize(path, |_| 72),
        refused: |why| matches!(why, Foreign::Length { found: 9, .. }),
    },
    Case {
        what: "a bus grown longer",
        make: |path| resize(path, |len| len + 4096),
        refused: |why| matches!(why, Foreign::Length { found, expected } if *found == expected + 512),
    },
    Case {
        what: "a bus from before the last boot",
        make: |path| change(path, BOOT, !read(path)[BOOT], true),
        refused: |why| *why == Foreign::EarlierBoot,
    },
];

/// Leave a file behind as everybody's crash would.
fn leave_a_bus(stage: &Stage) {
    let bus = stage.open();
    let copy = std::fs::read(stage.path()).unwrap();
    assert_eq!(copy.len(), Layout::of(&SIZES).cells * 8);
    drop(bus);
    std::fs::write(stage.path(), copy).unwrap();
}

#[test]
fn what_is_no_bus_of_ours_is_refused_with_a_reason_and_left_alone() {
    for (number, case) in CASES.iter().enumerate() {
        let stage = Stage::new();
        let path = stage.path();
        leave_a_bus(&stage);
        // From "an older layout" on they are changed buses, before it other things in their place.
        if number < 7 {
            std::fs::remove_file(&path).unwrap();
        }
        (case.make)(&path);
        let before = state_of(&path);

        let error = open(&stage.name).err();

        let Some(BusError::Foreign { path: named, why }) = &error else {
            panic!("{}: {error:?}", case.what)
        };
        assert!((case.refused)(why), "{}: {why:?}", case.what);
        assert_eq!(*named, path);
        assert!(state_of(&path) == before, "{} was changed", case.what);
    }
}

#[test]
fn many_at_once_are_refused_for_the_same_reason() {
    let stage = Stage::new();
    let path = stage.path();
    std::fs::write(&path, "precious".repeat(4096)).unwrap();
    let before = state_of(&path);
    let mut all: Vec<Child> = (0..6).map(|_| stage.start("try", &[])).collect();

    let reasons: Vec<String> = all.iter_mut().map(Child::hear).collect();

    assert!(reasons.iter().all(|reason| reason.contains("NotABus")), "{reasons:?}");
    assert!(state_of(&path) == before);
}

#[test]
fn somebody_elses_bus_is_refused_and_left_alone() {
    let stage = Stage::new();
    leave_a_bus(&stage);
    let somebody = Uid::from_raw(rustix::process::geteuid().as_raw() + 1);
    let group: Option<Gid> = None;
    if chownat(CWD, stage.path(), Some(somebody), group, AtFlags::empty()).is_err() {
        println!("left out: only root can give a file away");
        return;
    }
    for mode in [0o600, 0o666] {
        std::fs::set_permissions(stage.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let before = state_of(&stage.path());

        let error = open(&stage.name).err();

        let uid = somebody.as_raw();
        assert!(matches!(&error, Some(BusError::Owner { uid: of, .. }) if *of == uid), "{error:?}");
        assert!(state_of(&stage.path()) == before);
    }
}
