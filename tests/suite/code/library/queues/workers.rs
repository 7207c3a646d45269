//! Workers, queues, and the clocks of others.

use super::harness::{
    ACTIVE, BYTES, COMPLETED, CREATED_MS, JobSeen, Monitor, NOON_US, OFFLINE, ONLINE, PUSHED, QUEUED, WATCHED,
    consumers, each_way, found, job, queue, unknown_consumers, worker,
};
use crate::code::library::core::{Item, key, unpacked};

#[test]
fn numbers_and_times_of_wrong_clocks_are_brought_within_bounds() {
    each_way(|monitor, _| {
        let in_2099_us = 4_070_908_800_000_000;
        let seen = JobSeen {
            name: "a",
            at_us: in_2099_us,
            state: Some(QUEUED),
            runtime_ms: Some(i64::MAX),
            ..JobSeen::default()
        };
        let future = [seen.packed(), worker("w", in_2099_us, ONLINE, i64::MAX, None), queue("q", in_2099_us, i64::MAX)];
        let stored = monitor.observe(WATCHED, &future);
        let now_us = stored.now_us;
        let (row, _) = monitor.job("a");
        assert_eq!((row[CREATED_MS].int(), row[13].int()), (now_us / 1000, 1 << 53));
        let row = monitor.worker("w");
        assert_eq!((row[6].int(), row[7].int()), (now_us, 1 << 53));

        // What comes with the right time afterwards counts.
        let at_us = now_us + 1_000;
        let now = [job("a", at_us, ACTIVE), worker("w", at_us, ONLINE, 8, None), queue("q", at_us, 2)];
        assert_eq!(monitor.store(WATCHED, &now), (3, 0));
        assert_eq!(monitor.worker("w")[7], Item::Int(8));
        let queues = monitor.core.ask_as_caller("queue_list", &["0", "10"]);
        assert_eq!(unpacked(queues.items[1].bytes())[0].array()[3], Item::Int(2));
        // Up to a minute ahead is within what clocks differ.
        monitor.store(WATCHED, &[worker("ahead", now_us + 50_000_000, ONLINE, 8, None)]);
        assert_eq!(monitor.worker("ahead")[6].int(), now_us + 50_000_000);
        // Once it was silent, its next heartbeat counts although its clock was set right meanwhile.
        monitor.age("beats", 10_000);
        monitor.maintain();
        assert_eq!(monitor.worker("ahead")[4].int(), OFFLINE);
        monitor.store(WATCHED, &[worker("ahead", now_us + 40_000_000, ONLINE, 8, None)]);
        assert_eq!(monitor.worker("ahead")[4].int(), ONLINE);
    });
}

#[test]
fn a_worker_lives_for_three_of_its_own_heartbeats_after_one_was_received() {
    each_way(|monitor, _| {
        let observed = [worker("fast", NOON_US, ONLINE, 1, Some("2")), worker("slow", NOON_US, ONLINE, 1, Some("10"))];
        let first = monitor.observe(WATCHED, &[&observed[..], &[worker("silent", NOON_US, ONLINE, 1, None)]].concat());
        let until = |monitor: &mut Monitor| -> Vec<i64> {
            let rows = ["fast", "slow", "silent"].map(|name| [&BYTES[..], name.as_bytes()].concat());
            redis::cmd("ZMSCORE").arg(key("beats")).arg(&rows).query(&mut monitor.core.redis).unwrap()
        };
        let received_ms = first.now_us / 1000;
        assert_eq!(until(monitor), [received_ms + 6_000, received_ms + 30_000, received_ms + 6_000]);
        assert_eq!(monitor.maintain(), 0);
        // A heartbeat that its clock puts before the last one is a sign of life all the same.
        let late = monitor.observe(WATCHED, &[worker("fast", NOON_US - 3_600_000_000, ONLINE, 1, None)]);
        assert_eq!((late.items[1].int(), until(monitor)[0]), (1, late.now_us / 1000 + 6_000));
        monitor.published();

        monitor.age("beats", 12_000);
        assert_eq!(monitor.maintain(), 2);
        let mut gone: Vec<_> = monitor.published().iter().map(|change| change[1].text().to_owned()).collect();
        gone.sort();
        assert_eq!(gone, ["fast", "silent"]);
        assert_eq!(monitor.maintain(), 0, "each goes once");
        assert_eq!(monitor.worker("fast")[4].int(), OFFLINE);
        // What it said before it ended does not bring it back, its next heartbeat does.
        monitor.store(WATCHED, &[worker("fast", NOON_US - 1, ONLINE, 1, None)]);
        assert_eq!(monitor.worker("fast")[4].int(), OFFLINE);
        monitor.store(WATCHED, &[worker("fast", NOON_US + 1, ONLINE, 1, None)]);
        assert_eq!(monitor.worker("fast")[4].int(), ONLINE);
    });
}

#[test]
fn a_worker_without_heartbeats_is_known_by_its_jobs() {
    each_way(|monitor, _| {
        let by = |worker, at_us| JobSeen {
            name: "a",
            at_us,
            state: Some(ACTIVE),
            worker: Some(worker),
            ..JobSeen::default()
        };
        let now_us = monitor.observe(WATCHED, &[by("long ago", NOON_US).packed()]).now_us;
        assert_eq!(monitor.core.ask_as_caller("worker_list", &["0", "10"]).items.len(), 1, "that shows nothing of now");
        monitor.published();
        monitor.store(WATCHED, &[by("w", now_us).packed()]);
        let row = monitor.worker("w");
        assert_eq!((&row[3], row[4].int()), (&"w".into(), ONLINE));
        let changes = monitor.published();
        assert_eq!(changes[0][..5], ["w".into(), "w".into(), "w".into(), Item::Int(ONLINE), Item::Int(OFFLINE)]);
        monitor.age("beats", 59_000);
        assert_eq!(monitor.maintain(), 0);
        monitor.age("beats", 2_000);
        assert_eq!(monitor.maintain(), 1);
        // One with heartbeats ends by these, whatever its jobs say.
        monitor.store(WATCHED, &[worker("w", now_us + 1, OFFLINE, 1, None), by("w", now_us + 2).packed()]);
        assert_eq!(monitor.worker("w")[4].int(), OFFLINE);
    });
}

#[test]
fn a_job_that_begins_brings_an_ended_worker_back_and_one_that_ends_does_not() {
    each_way(|monitor, _| {
        let now_us = monitor.observe(WATCHED, &[worker("w", NOON_US, ONLINE, 1, None)]).now_us;
        monitor.store(WATCHED, &[worker("w", now_us, OFFLINE, 0, None)]);
        let later = |state| {
            let at_us = now_us + 30_000_000;
            JobSeen { name: "a", at_us, state: Some(state), worker: Some("w"), ..JobSeen::default() }.packed()
        };
        monitor.store(WATCHED, &[later(COMPLETED)]);
        assert_eq!(monitor.worker("w")[4].int(), OFFLINE, "it had the job before it ended");
        monitor.store(WATCHED, &[later(ACTIVE)]);
        assert_eq!(monitor.worker("w")[4].int(), ONLINE);
    });
}

#[test]
fn what_the_watcher_found_counts_where_a_worker_has_no_heartbeats() {
    each_way(|monitor, _| {
        let now_us = monitor.observe(WATCHED, &[found("w", NOON_US, ONLINE, Some("emails"))]).now_us;
        let row = monitor.worker("w");
        assert_eq!((row[4].int(), row[11].array()), (ONLINE, &["emails".into()][..]));
        let kinds =
            |changes: Vec<Vec<Item>>| changes.iter().map(|change| change[0].text().to_owned()).collect::<String>();
        assert_eq!(kinds(monitor.published()), "sb");
        // It stays for as long as one that is known by its jobs, and until its binding is gone.
        monitor.age("beats", 59_000);
        assert_eq!(monitor.maintain(), 0);
        assert_eq!(monitor.store(WATCHED, &[found("w", NOON_US + 1, OFFLINE, None)]), (1, 0));
        assert_eq!(monitor.worker("w")[4].int(), OFFLINE);
        assert_eq!(kinds(monitor.published()), "s");
        assert_eq!(monitor.store(WATCHED, &[found("w", NOON_US + 2, OFFLINE, None)]), (0, 1));
        // It comes back, by a job here. One that nobody knew is not gone.
        let by = JobSeen { name: "a", at_us: now_us, state: Some(ACTIVE), worker: Some("w"), ..JobSeen::default() };
        monitor.store(WATCHED, &[by.packed(), found("nobody", now_us, OFFLINE, None)]);
        assert_eq!(monitor.worker("w")[4].int(), ONLINE);
        assert_eq!(monitor.core.ask_as_caller("worker_list", &["0", "10"]).items.len(), 2, "a page's cursor, and w");

        // The heartbeats of one that has them say more; but its answer has its queues.
        let beats = [worker("beats", now_us, ONLINE, 1, None), found("beats", now_us + 1, OFFLINE, Some("prio"))];
        monitor.store(WATCHED, &beats);
        let row = monitor.worker("beats");
        assert_eq!((row[4].int(), row[11].array()), (ONLINE, &["prio".into()][..]));
        // When it fell silent it may have been started anew without: what comes later than its end counts, and nothing before.
        monitor.age("beats", 10_000);
        monitor.maintain();
        assert_eq!(monitor.worker("beats")[4].int(), OFFLINE);
        monitor.store(WATCHED, &[found("beats", now_us + 5_000_000, ONLINE, None)]);
        assert_eq!(monitor.worker("beats")[4].int(), OFFLINE);
        monitor.store(WATCHED, &[found("beats", now_us + 15_000_000, ONLINE, None)]);
        assert_eq!(monitor.worker("beats")[4].int(), ONLINE);
    });
}

#[test]
fn the_consumers_of_a_queue_are_unknown_when_who_was_asked_does_not_know() {
    each_way(|monitor, _| {
        let (exact, pushed) = (1, 3);
        let known = |monitor: &mut Monitor| {
            let queues = monitor.core.ask_as_caller("queue_list", &["0", "10"]);
            let row = unpacked(queues.items[1].bytes())[0].array().to_vec();
            (row[3].clone(), row[4].clone(), row[5].clone())
        };
        monitor.store(WATCHED, &[queue("q", NOON_US, 4), consumers("q", NOON_US + 1, 2, exact)]);
        assert_eq!(known(monitor), (Item::Int(4), Item::Int(2), Item::Int(exact)));
        monitor.store(WATCHED, &[queue("q", NOON_US + 2, 4)]);
        assert_eq!(known(monitor).1, Item::Int(2), "nobody looked");
        monitor.published();
        monitor.store(WATCHED, &[unknown_consumers("q", NOON_US + 3)]);
        assert_eq!(known(monitor), (Item::Int(4), Item::Absent, Item::Absent));
        assert_eq!(monitor.published()[0][3], Item::Absent, "it is told");
        // What a client says stands beside a watch that does not know.
        monitor.store(PUSHED, &[consumers("q", NOON_US + 4, 7, pushed)]);
        monitor.store(WATCHED, &[unknown_consumers("q", NOON_US + 5)]);
        assert_eq!(known(monitor).1, Item::Int(7));
    });
}
