//! What the kernel knows: time, processor time, memory, limits.

use std::fs::read_to_string;

/// The monotonic clock, which all processes of one machine share.
pub fn now_ns() -> u64 {
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Processor time that this process has used, in seconds.
pub fn own_cpu_s() -> f64 {
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Processor time that these processes have used, in seconds. From the scheduler's nanoseconds where it has them: the clock ticks of
/// `stat` are too coarse for what costs little.
pub fn cpu_s(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| threads_cpu_s(*pid).unwrap_or_else(|| ticks_cpu_s(*pid))).sum()
}

fn threads_cpu_s(pid: u32) -> Option<f64> {
    let mut total = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        total += text.split(' ').next()?.parse::<f64>().ok()? / 1e9;
    }
    Some(total)
}

fn ticks_cpu_s(pid: u32) -> f64 {
    let text = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<_> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Resident memory of these processes.
pub fn resident_kb(pids: &[u32]) -> u64 {
    let one = |pid: &u32| {
        read_to_string(format!("/proc/{pid}/status")).ok()?.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok())
    };
    pids.iter().filter_map(one).sum()
}

/// As many open files as the system allows, and timers that are not rounded.
pub fn prepare() {
    unsafe {
        let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        files.rlim_cur = files.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &files);
    }
    precise_timers();
}

/// Of the calling thread.
pub fn precise_timers() {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize) };
}
