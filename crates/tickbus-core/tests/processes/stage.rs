//! What all themes need: a bus name of one's own, child processes, chance, and a clock for promises.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tickbus_core::bus::Bus;
use tickbus_core::error::BusError;
use tickbus_core::lane::layout::Sizes;
use tickbus_core::open::path_of;

/// What others may notice of a death, once the process is dead: the median of a test's times.
pub const PROMISED: Duration = Duration::from_millis(100);
/// And the longest of them, on a machine that does something else as well.
pub const HARD: Duration = Duration::from_secs(1);
/// Nothing here takes that long: for noticing that something hangs.
pub const HANGING: Duration = Duration::from_secs(60);

/// Lanes so small that everybody meets everybody: 64 normal and high, 128 critical.
pub const SIZES: Sizes = Sizes { lanes: [64, 64, 128], payload_cells: 1 << 12 };

/// How many times as long as usual a random test takes.
pub fn stress() -> usize {
    std::env::var("TICKBUS_STRESS").map_or(1, |times| times.parse().expect("TICKBUS_STRESS=number"))
}

/// Open a bus with small lanes, or whatever sizes it has already.
pub fn open(name: &str) -> Result<Arc<Bus>, BusError> {
    Bus::named(name, SIZES, &[None; 4])
}

/// A bus name nobody else uses. Tests hold it one at a time, since many of them look at the clock.
pub struct Stage {
    pub name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub fn new() -> Stage {
        static TURN: Mutex<()> = Mutex::new(());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // A test that failed has left nothing behind that matters to the next.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Stage { name: format!("test-{}-{number}", std::process::id()), _turn: turn }
    }

    pub fn open(&self) -> Arc<Bus> {
        open(&self.name).expect("a bus of our own")
    }

    pub fn path(&self) -> String {
        path_of(&self.name)
    }

    /// Start a child that plays `role`.
    pub fn start(&self, role: &str, arguments: &[u64]) -> Child {
        Child::start(role, &self.name, arguments)
    }

    /// Every file of this bus that there is: its memory and its pipes.
    pub fn files(&self) -> Vec<String> {
        let path = self.path();
        let files = std::fs::read_dir("/dev/shm").expect("shared memory");
        let files = files.filter_map(|file| file.ok()?.path().to_str().map(str::to_owned));
        files.filter(|file| file.starts_with(&path)).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for file in self.files() {
            // A directory in a test about foreign files, else a file.
            let _ = std::fs::remove_file(&file).or_else(|_| std::fs::remove_dir(&file));
        }
    }
}

/// The variable a child finds its orders in, and what makes this program run its entry.
pub const ORDERS: &str = "TICKBUS_CHILD";
pub const ENTRY: [&str; 5] = [
    "--exact",
    "child_entry",
    "--ignored",
    "--nocapture",
    "--test-threads=1",
];
/// Sets what a child says apart from what the test harness prints around it.
const SAYS: &str = "child says: ";

/// What a child process can be told to do.
pub struct Role {
    pub name: &'static str,
    pub play: fn(&Orders),
}

/// What this child process was told to do.
pub struct Orders {
    pub role: String,
    pub bus: String,
    pub arguments: Vec<u64>,
}

impl Orders {
    /// `None` in a process that is nobody's child.
    pub fn received() -> Option<Orders> {
        let orders = std::env::var(ORDERS).ok()?;
        // A test that is interrupted leaves nobody behind.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
        let mut words = orders.split(' ').map(str::to_owned);
        let (role, bus) = (words.next()?, words.next()?);
        let arguments = words.map(|word| word.parse().expect("a number")).collect();
        Some(Orders { role, bus, arguments })
    }

    pub fn open(&self) -> Arc<Bus> {
        open(&self.bus).expect("the parent's bus")
    }

    pub fn say(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{SAYS}{line}")
            .and_then(|()| out.flush())
            .expect("the parent listens");
    }

    /// Wait for the parent's next line.
    pub fn hear(&self) -> String {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("the parent speaks");
        line.trim_end().to_owned()
    }
}

/// Stay until killed.
pub fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

/// Send this process itself a signal.
pub fn strike_self(signal: Signal) {
    kill_process(rustix::process::getpid(), signal).expect("our own process");
}

/// A child process; killed when dropped.
pub struct Child {
    process: std::process::Child,
    said: BufReader<ChildStdout>,
    told: ChildStdin,
}

impl Child {
    fn start(role: &str, bus: &str, arguments: &[u64]) -> Child {
        let mut orders = format!("{role} {bus}");
        arguments.iter().for_each(|argument| orders += &format!(" {argument}"));
        let this_program = std::env::current_exe().expect("the test binary");
        let mut process = Command::new(this_program)
            .args(ENTRY)
            .env(ORDERS, orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the test binary again");
        let said = BufReader::new(process.stdout.take().expect("piped"));
        let told = process.stdin.take().expect("piped");
        Child { process, said, told }
    }

    pub fn id(&self) -> u64 {
        self.process.id().into()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Wait for the next line it says.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            if self.said.read_line(&mut line).expect("a pipe") == 0 {
                panic!("the child ended with {:?}", self.process.wait());
            }
            if let Some((_, said)) = line.split_once(SAYS) {
                return said.trim_end().to_owned();
            }
        }
    }

    /// Wait for a line with a number.
    pub fn hear_number(&mut self) -> u64 {
        self.hear().parse().expect("a number")
    }

    pub fn tell(&mut self, line: impl std::fmt::Display) {
        writeln!(self.told, "{line}").expect("the child listens");
    }

    /// Send a signal, and do not wait for what it does.
    pub fn strike(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// SIGSTOP; returns when it is stopped.
    pub fn stop(&self) {
        self.strike(Signal::STOP);
        self.wait_for_stop();
    }

    /// Wait until it has stopped, or stopped itself.
    pub fn wait_for_stop(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pid()), options).expect("a child of ours");
        assert!(status.expect("waited for").stopped(), "the child ended instead of stopping");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.strike(Signal::CONT);
    }

    /// SIGKILL, if it has not killed itself; returns when it is dead. It has not ended otherwise.
    pub fn kill(mut self) {
        self.strike(Signal::KILL);
        self.bury();
    }

    /// SIGKILL for a child that may have come to its end just before.
    pub fn strike_down(mut self) {
        // A child that has ended is there until it has been waited for.
        self.strike(Signal::KILL);
        let status = self.process.wait().expect("a child of ours");
        let struck = status.signal() == Some(Signal::KILL.as_raw());
        assert!(struck || status.success(), "the child failed: {status}");
    }

    /// Wait for a child that kills itself.
    pub fn bury(&mut self) {
        let status = self.process.wait().expect("a child of ours");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "the child failed: {status}");
    }

    /// Wait for a child that comes to its role's end.
    pub fn finish(mut self) {
        let status = self.process.wait().expect("a child of ours");
        assert!(status.success(), "the child failed: {status}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be over already, and then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Splitmix64: enough chance for a test, and its seed repeats it.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Chance {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        println!("seed {}", now.as_nanos() as u64);
        Chance(now.as_nanos() as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Any number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_of<T>(&mut self, things: &[T]) -> usize {
        self.below(things.len() as u64) as usize
    }

    /// Any duration below that.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_nanos(self.below(longest.as_nanos() as u64))
    }
}

/// 64 bits that follow from 64 others, all of them from each.
pub fn mixed(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Do nothing for a while that is too short to sleep.
pub fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Look until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < HANGING, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// How long others went without, after each of a test's deaths.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Do what has to go on now that somebody is dead.
    pub fn measure<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let begin = Instant::now();
        let result = work();
        self.took(begin.elapsed());
        result
    }

    /// Add a time measured otherwise.
    pub fn took(&mut self, took: Duration) {
        assert!(took <= HARD, "others went on only {took:?} after a death");
        self.0.push(took);
    }

    /// Assert the promise.
    pub fn keep_the_promise(mut self) {
        self.0.sort();
        let median = self.0[self.0.len() / 2];
        println!("{} deaths: median {median:?}, most {:?}", self.0.len(), self.0.last());
        assert!(median <= PROMISED, "others went on {median:?} after a death, as a rule");
    }
}
