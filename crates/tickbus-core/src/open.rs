//! Opening a bus's memory: private, or a file that processes find by the bus's name.
//!
//! A named bus is `/dev/shm/tickbus.<name>`, mode 0600. It appears complete or not at all: the
//! creator fills a file without a name, then links it; whoever comes second finds the first one's.
//! It lives as long as somebody has it open. The last to leave removes it; after a crash of all, the
//! next to come finds it with its events and takes over.

use crate::bus::CRITICAL;
use crate::error::BusError;
use crate::lane::layout::{Foreign, LANE_SIZES, Layout, Region, Sizes, read_header, write_header};
use crate::lane::memory::{Memory, PAGE_CELLS};
use crate::lane::ring::Lane;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, linkat, open,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

const DIRECTORY: &str = "/dev/shm";
/// Longest name of a bus, in bytes.
pub const MAX_BUS_NAME: usize = 100;

/// Path of the file behind a bus's name.
pub fn path_of(name: &str) -> String {
    format!("{DIRECTORY}/tickbus.{name}")
}

/// Sizes asked for: the three lanes by priority number, then the payload ring in cells.
pub type Asked = [Option<usize>; 4];
const SIZE_NAMES: [&str; 4] = ["normal_size", "high_size", "critical_size", "payload cells"];

/// A bus's memory, opened.
pub struct Opened {
    pub memory: Arc<Memory>,
    pub layout: Layout,
    pub sizes: Sizes,
    /// The file behind a named bus.
    pub file: Option<OwnedFd>,
}

fn check_sizes(sizes: &Sizes) -> Result<(), BusError> {
    match sizes
        .lanes
        .iter()
        .find(|size| !size.is_power_of_two() || !LANE_SIZES.contains(size))
    {
        Some(&size) => Err(BusError::LaneSize { size }),
        None => Ok(()),
    }
}

/// First sequence of each lane of a new bus, by priority number.
pub type Origins = [u64; 3];

/// Memory for a bus without a name.
pub fn private(sizes: Sizes, origins: Origins) -> Result<Opened, BusError> {
    check_sizes(&sizes)?;
    let layout = Layout::of(&sizes);
    let memory = Memory::private(layout.cells).map_err(BusError::io("private memory"))?;
    format(&memory, &layout, &sizes, origins, 0); // nobody will ask from which boot it is
    Ok(Opened { memory, layout, sizes, file: None })
}

/// Make zeroed memory an empty bus.
fn format(memory: &Arc<Memory>, layout: &Layout, sizes: &Sizes, origins: Origins, boot: u64) {
    for (number, (lane, origin)) in lanes(memory, layout).iter().zip(origins).enumerate() {
        if origin > 0 {
            lane.begin_at(origin);
        }
        if number == CRITICAL {
            lane.close_gate(origin);
        }
    }
    write_header(&memory.cells(0, PAGE_CELLS), sizes, boot);
}

/// The lanes of a bus, by priority number.
pub fn lanes(memory: &Arc<Memory>, layout: &Layout) -> [Lane; 3] {
    let cells = |region: Region| memory.cells(region.at, region.len);
    std::array::from_fn(|i| {
        Lane::new(
            cells(layout.controls[i]),
            cells(layout.stamps[i]),
            cells(layout.events[i]),
            cells(layout.staging),
        )
    })
}

/// What to do when no bus has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Create,
    Refuse,
}

/// Attach to the bus called `name`, or create it with `sizes`.
///
/// `asked` has the sizes that somebody asked for; a bus with others is refused.
pub fn named(
    name: &str,
    sizes: Sizes,
    asked: &Asked,
    origins: Origins,
    absent: Absent,
) -> Result<Opened, BusError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.len() > MAX_BUS_NAME || !name.bytes().all(plain) {
        return Err(BusError::BusName { name: name.to_owned() });
    }
    check_sizes(&sizes)?;
    let path = path_of(name);
    loop {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match open(&path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) if absent == Absent::Refuse => {
                return Err(BusError::NoBus { name: name.to_owned() });
            }
            Err(Errno::NOENT) => match create(&path, &sizes, origins)? {
                Some(file) => file,
                None => continue, // somebody else was first
            },
            Err(Errno::ACCESS | Errno::PERM) => {
                let uid = rustix::fs::lstat(&path).map_or(u32::MAX, |stat| stat.st_uid);
                return Err(BusError::Owner { path, uid });
            }
            // A directory, a link, a socket: something, but no bus.
            Err(Errno::ISDIR | Errno::LOOP | Errno::NXIO) => {
                return Err(BusError::Foreign { path, why: Foreign::NotABus { magic: 0 } });
            }
            Err(error) => return Err(BusError::io("open shared memory")(error)),
        };
        return attach(&path, file, asked);
    }
}

fn boot() -> Result<u64, BusError> {
    crate::sys::boot_id().map_err(BusError::io("read the boot id"))
}

/// `None` when the path appeared meanwhile.
fn create(path: &str, sizes: &Sizes, origins: Origins) -> Result<Option<OwnedFd>, BusError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    let file = open(DIRECTORY, flags, Mode::RUSR | Mode::WUSR)
        .map_err(BusError::io("create shared memory"))?;
    let layout = Layout::of(sizes);
    // Reserve every page now: an error here is an exception, a missing page later is a signal.
    fallocate(&file, FallocateFlags::empty(), 0, layout.cells as u64 * 8)
        .map_err(BusError::io("reserve shared memory"))?;
    let memory = Memory::shared(file.as_fd(), layout.cells).map_err(BusError::io("map"))?;
    format(&memory, &layout, sizes, origins, boot()?);
    let anonymous = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, anonymous, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(BusError::io("name shared memory")(error)),
    }
}

fn attach(path: &str, file: OwnedFd, asked: &Asked) -> Result<Opened, BusError> {
    let stat = fstat(&file).map_err(BusError::io("stat shared memory"))?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(BusError::Owner { path: path.to_owned(), uid: stat.st_uid });
    }
    let foreign = |why| BusError::Foreign { path: path.to_owned(), why };
    let not_a_bus = Foreign::NotABus { magic: 0 };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(foreign(not_a_bus));
    }
    let mut bytes = [0; 72];
    let read = rustix::io::pread(&file, &mut bytes, 0).map_err(BusError::io("read header"))?;
    if read < bytes.len() {
        return Err(foreign(not_a_bus));
    }
    let header: [u64; 9] = std::array::from_fn(|i| {
        u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().expect("eight bytes"))
    });
    let sizes = read_header(&header, stat.st_size as u64 / 8, boot()?).map_err(foreign)?;
    let found = [
        sizes.lanes[0],
        sizes.lanes[1],
        sizes.lanes[2],
        sizes.payload_cells,
    ];
    for (what, (asked, found)) in SIZE_NAMES.into_iter().zip(asked.iter().zip(found)) {
        if let Some(asked) = *asked
            && asked != found
        {
            return Err(BusError::Sizes { what, asked, found });
        }
    }
    let layout = Layout::of(&sizes);
    let memory = Memory::shared(file.as_fd(), layout.cells).map_err(BusError::io("map"))?;
    Ok(Opened { memory, layout, sizes, file: Some(file) })
}
