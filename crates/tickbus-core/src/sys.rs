//! What the operating system tells about processes, and the locks and wake-ups it lends.

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What identifies a process for good: a PID alone is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub pid: u64,
    /// Start time in clock ticks since boot.
    pub start: u64,
    /// Inode of the PID namespace: every container has a PID 1.
    pub namespace: u64,
    /// Where its stack begins, 0 when that is not told: a process that runs another program (exec)
    /// keeps PID and start time, and has nothing of the old program but those.
    pub stack: u64,
}

impl Identity {
    /// This process.
    ///
    /// # Errors
    /// When the kernel does not tell, for example for want of a file descriptor. Somebody on a bus
    /// without an identity would be taken for dead by everybody else.
    pub fn own() -> io::Result<Identity> {
        let pid = u64::from(std::process::id());
        let (start, stack) = running(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Identity { pid, start, namespace: pid_namespace()?, stack })
    }

    /// Whether it is *proven* that this program no longer runs. In another PID namespace nothing
    /// can be proven, nor by a process that the kernel gives no answer, so the answer is no.
    pub fn is_dead(&self) -> bool {
        let is_same = |(start, stack)| {
            start == self.start && (stack == self.stack || stack == 0 || self.stack == 0)
        };
        pid_namespace().is_ok_and(|own| own == self.namespace)
            && running(self.pid).is_ok_and(|running| !running.is_some_and(is_same))
    }
}

fn pid_namespace() -> io::Result<u64> {
    Ok(rustix::fs::stat("/proc/self/ns/pid")?.st_ino)
}

/// Start time and stack of a running process; `None` for one that is gone or only waits to be reaped.
///
/// # Errors
/// When that cannot be told: no file descriptor left, no memory, no /proc, or one that hides the
/// process. None of these is proof of anything.
fn running(pid: u64) -> io::Result<Option<(u64, u64)>> {
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(error) if is_missing(&error) && !exists(pid) => return Ok(None),
        stat => stat?,
    };
    // The command name stands in brackets and may contain anything, brackets too.
    let (_, fields) = stat.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next().unwrap_or_default();
    let number = |field: Option<&str>| field.and_then(|text| text.parse().ok());
    let start = number(fields.nth(18)).ok_or(io::ErrorKind::InvalidData)?;
    let stack = number(fields.nth(5)).unwrap_or(0);
    // A leader that has exited shows Z although its threads may still run.
    let gone = state == "X" || (state == "Z" && threads(pid)? <= 1);
    Ok((!gone).then_some((start, stack)))
}

fn threads(pid: u64) -> io::Result<usize> {
    match std::fs::read_dir(format!("/proc/{pid}/task")) {
        Err(error) if is_missing(&error) => Ok(0),
        threads => Ok(threads?.count()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

/// Whether the kernel knows this PID, whatever /proc shows.
fn exists(pid: u64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Identity of this boot, folded into one word: shared memory written before it is stale.
pub fn boot_id() -> io::Result<u64> {
    let text = std::fs::read("/proc/sys/kernel/random/boot_id")?;
    Ok(xxhash_rust::xxh3::xxh3_64(&text))
}

/// A number that is nobody else's, to tell apart what is made again under the same name.
pub fn random_id() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Keyed from the system's random numbers, each time anew.
    RandomState::new().hash_one((now_ns(), std::process::id()))
}

/// Nanoseconds since the Unix epoch, UTC.
#[inline]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Guards what happens rarely: registering, naming, repairing, attaching. Between processes it is a
/// file lock, which the kernel takes back from a process that dies; nothing on it is left to mend.
pub struct AdminLock {
    threads: Mutex<()>,
    file: Option<OwnedFd>,
}

/// The lock could not be had in time: its holder is alive but does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTimeout;

const LOCK_PATIENCE: Duration = Duration::from_secs(2);

impl AdminLock {
    /// A lock between the threads of this process and, with a file, between processes.
    pub fn new(file: Option<OwnedFd>) -> AdminLock {
        AdminLock { threads: Mutex::new(()), file }
    }

    /// The file behind the lock, of a named bus.
    pub fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    /// Take the lock, or give up after two seconds.
    pub fn lock(&self) -> Result<AdminGuard<'_>, LockTimeout> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            let deadline = Instant::now() + LOCK_PATIENCE;
            while flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
                if Instant::now() > deadline {
                    return Err(LockTimeout);
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(AdminGuard { file: self.file.as_ref(), _threads: threads })
    }
}

/// Holds the [`AdminLock`] until dropped.
pub struct AdminGuard<'a> {
    file: Option<&'a OwnedFd>,
    _threads: MutexGuard<'a, ()>,
}

impl Drop for AdminGuard<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            // Unlocking a lock we hold does not fail; if it did, closing the file would do it.
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// An eventfd to sleep on, for wake-ups within the process.
pub fn eventfd() -> io::Result<OwnedFd> {
    use rustix::event::EventfdFlags;
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// A named pipe to sleep on, which other processes can open by its path to wake us.
pub fn named_pipe(path: &str) -> io::Result<OwnedFd> {
    use rustix::fs::{CWD, FileType, mknodat, open, unlink};
    // One may be left from a process that was killed.
    let _ = unlink(path);
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Read and write, so that it neither blocks on opening nor ends when a waker closes its side.
    Ok(open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?)
}

/// Open somebody's named pipe for waking.
pub fn open_waker(path: &str) -> io::Result<OwnedFd> {
    // Read and write here too: a pipe that nobody reads any more would end the publisher with
    // SIGPIPE, unless its program ignores that, when its sleeper has been killed.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Wake whoever sleeps on `fd`. A full pipe is a wake-up already under way.
pub fn wake(fd: impl AsFd) -> bool {
    matches!(rustix::io::write(fd, &1u64.to_ne_bytes()), Ok(_) | Err(Errno::AGAIN))
}

/// Take back what was written by wakers.
pub fn drain(fd: impl AsFd) {
    let mut buffer = [0; 256];
    while matches!(rustix::io::read(fd.as_fd(), &mut buffer), Ok(256)) {}
}

/// Sleep until `fd` is woken or the time is over.
pub fn sleep_on(fd: impl AsFd, timeout: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout =
        Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    let fd = fd.as_fd();
    // Interrupted by a signal is as good as woken: the caller looks again either way.
    let _ = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout));
}
