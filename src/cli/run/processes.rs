//! The command's processes: its group, and all its descendants.

use std::collections::HashMap;

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

/// Sends a signal to a process group; one that is gone is no fault.
pub(super) fn signal_group(group: Pid, signal: Signal) {
    // The group may have ended meanwhile, which is what its signals are for.
    let _ = killpg(group, signal);
}

/// Whether a process group has a member that is no zombie: one that nobody collects would otherwise be waited for in vain.
pub(super) fn group_lives(group: Pid) -> bool {
    if killpg(group, None) == Err(Errno::ESRCH) {
        return false;
    }
    all_processes().into_iter().any(|(_, stat)| stat.group == group.as_raw() && !stat.is_zombie)
}

/// Every descendant of a process, whatever its group and session. Orphans count as long as their nearest living ancestor that adopts
/// ("subreaper") is this process.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, stat) in all_processes() {
        children.entry(stat.parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw()];
    while let Some(pid) = next.pop() {
        if let Some(children) = children.remove(&pid) {
            found.extend(children.iter().copied().map(Pid::from_raw));
            next.extend(children);
        }
    }
    found
}

/// Sends a signal to every descendant of this process but `spared`; whether there was one that is no zombie.
///
/// A process that is forked meanwhile may be missed: who has to be sure repeats this until it answers false.
pub(super) fn signal_descendants(signal: Signal, spared: Option<Pid>) -> bool {
    let mut living = false;
    for pid in descendants(Pid::this()) {
        if Some(pid) == spared {
            continue;
        }
        living |= signal_process(pid, signal);
    }
    living
}

/// Sends a signal to a process by a descriptor of it, so that one that gets the same number later is never meant; whether it lives.
fn signal_process(pid: Pid, signal: Signal) -> bool {
    let Some(number) = rustix::process::Pid::from_raw(pid.as_raw()) else { return false };
    let Ok(descriptor) = pidfd_open(number, PidfdFlags::empty()) else { return false };
    // Read after the descriptor was opened: what is alive now under this number is what the descriptor means, or the signal fails.
    let Some(stat) = Stat::read(pid.as_raw()) else { return false };
    if stat.is_zombie {
        return false;
    }
    let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) else { return false };
    pidfd_send_signal(descriptor, signal).is_ok()
}

/// Collects every child that has ended or stopped by now, orphans that this process adopted included.
pub(super) fn collect_children(mut each: impl FnMut(Pid, WaitStatus)) {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    each(pid, status);
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// A process as `/proc` shows it.
struct Stat {
    parent: i32,
    group: i32,
    is_zombie: bool,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `pid (name) state parent group ...`; the name may hold anything, brackets too.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
        let state = fields.next()?;
        let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Self { parent, group, is_zombie: matches!(state, "Z" | "X") })
    }
}

/// Every process that this one may see, by its number.
fn all_processes() -> Vec<(i32, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        let stat = Stat::parse("12 (a) S 3 (b) x) Z 7 12 12 0").unwrap();
        assert_eq!((stat.parent, stat.group, stat.is_zombie), (7, 12, true));
        assert!(Stat::parse("12 (a").is_none());
    }

    #[test]
    fn descendants_are_found_in_other_sessions() {
        let mut shell = Command::new("sh").args(["-c", "setsid sleep 60 & wait"]).spawn().unwrap();
        let root = Pid::from_raw(shell.id() as i32);
        let begun = std::time::Instant::now();
        while descendants(root).len() != 1 {
            assert!(begun.elapsed().as_secs() < 20, "{:?}", descendants(root));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(descendants(root).into_iter().all(|pid| signal_process(pid, Signal::SIGKILL)));
        shell.wait().unwrap();
    }
}
