//! CPU time of processes, as the kernel's scheduler counts it.

use std::time::Duration;

pub type CpuTime = Duration;

/// User and system time of all live threads of a process; zero for a process that has ended.
pub fn of(pid: u32) -> CpuTime {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanoseconds = |thread: std::fs::DirEntry| -> Option<u64> {
        // Finer than /proc/PID/stat, which counts in hundredths of a second: "nanoseconds-on-cpu waiting slices".
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(|thread| nanoseconds(thread.ok()?)).sum())
}
