//! Connections: leases of watchers, the day of pushed events, and what a deleted one leaves.

use super::harness::{
    BYTES, COMPLETED, CONNECTION, JobSeen, Monitor, NOON_US, ONLINE, PUSHED, QUEUED, Source, WATCHED, each_way, job,
    queue, worker,
};
use crate::code::library::core::Item;

#[test]
fn who_lost_the_lease_or_has_used_up_the_day_changes_nothing() {
    each_way(|monitor, server| {
        let events = [job("a", NOON_US, QUEUED), job("b", NOON_US, QUEUED)];
        let limited = Source { day: "3", ..PUSHED };
        assert_eq!(monitor.store(limited, &events), (2, 0));
        let refused = monitor.observe(limited, &events);
        assert_eq!((refused.word.as_str(), &refused.items[0]), ("LIMIT", &"EventsPerDay".into()));
        assert_eq!(refused.items[1..3], [Item::Int(3), Item::Int(2)]);
        assert_eq!(monitor.core.ask_as_caller::<&str>("usage", &[]).items[6], Item::Int(2));

        let available = |monitor: &mut Monitor| monitor.core.ask("watch_look", &[CONNECTION, "gone"]).items;
        let [Item::Int(left_ms), Item::Int(-1)] = available(monitor)[..] else { panic!("it is held") };
        assert!((1..=6_000).contains(&left_ms));
        assert_eq!(monitor.core.ask("watch_take", &[CONNECTION, "other", "6000"]).word, "HELD");
        assert_eq!(monitor.core.ask("watch_keep", &[CONNECTION, "1", "0", "", "0", "0", "", ""]).word, "OK");
        assert_eq!(available(monitor)[0], Item::Int(0), "it was given back");
        let taken = monitor.core.ask("watch_take", &[CONNECTION, "other", "6000"]);
        assert_eq!((taken.items[0].int(), &taken.items[3]), (2, &Item::True));
        assert_eq!(monitor.core.ask("watch_keep", &[CONNECTION, "1", "6000", "", "0", "0", "", ""]).word, "LOST");
        let before = server.ask::<i64>("HLEN hf:{1}:t:jobs");
        assert_eq!(monitor.observe(WATCHED, &[job("c", NOON_US, QUEUED)]).word, "OUTDATED");
        assert_eq!(server.ask::<i64>("HLEN hf:{1}:t:jobs"), before);

        assert_eq!(monitor.core.ask_as_caller("connection_delete", &[CONNECTION]).items, ["hash".into()]);
        monitor.core.look_again();
        assert_eq!(monitor.observe(PUSHED, &events).word, "GONE");
        assert_eq!(monitor.core.ask("watch_take", &[CONNECTION, "other", "6000"]).word, "GONE");
        assert_eq!(monitor.core.ask_as_caller::<&str>("connection_list", &[]).items, []);
    });
}

#[test]
fn what_a_deleted_connection_has_left_goes_in_bounded_pieces() {
    each_way(|monitor, _| {
        for from in (0..2_000).step_by(200) {
            let rows = (from..from + 200).flat_map(|number| {
                let name = format!("n{number}");
                [queue(&name, NOON_US, 1), worker(&name, NOON_US, ONLINE, 1, None)]
            });
            monitor.store(WATCHED, &rows.collect::<Vec<_>>());
        }
        for from in (0..600).step_by(100) {
            let jobs: Vec<_> = (from..from + 100)
                .map(|number| {
                    let name = format!("n{number}");
                    let seen = JobSeen { name: &name, at_us: NOON_US, state: Some(COMPLETED), ..JobSeen::default() };
                    JobSeen { queue: Some(&name), worker: Some(&name), ..seen }.packed()
                })
                .collect();
            monitor.store(WATCHED, &jobs);
        }
        let args = |cursor: &str| -> [Vec<u8>; 4] { [CONNECTION.into(), BYTES.into(), cursor.into(), b"500".into()] };
        assert_eq!(monitor.core.ask_as_caller("connection_forget", &args("0")).word, "KEPT");
        assert_eq!(monitor.core.ask_as_caller("connection_delete", &[CONNECTION]).word, "OK");
        monitor.core.look_again();
        let (mut cursor, mut pieces) = ("0".to_owned(), 0);
        loop {
            let before =
                monitor.core.query::<i64>("HLEN", "queues", &[]) + monitor.core.query::<i64>("HLEN", "counts", &[]);
            let answer = monitor.core.ask_as_caller("connection_forget", &args(&cursor));
            let after =
                monitor.core.query::<i64>("HLEN", "queues", &[]) + monitor.core.query::<i64>("HLEN", "counts", &[]);
            assert!(before - after <= 600, "{} rows in one piece", before - after);
            cursor = answer.items[0].text().to_owned();
            pieces += 1;
            if cursor == "0" {
                break;
            }
        }
        assert!(pieces > 10, "{pieces}");
        for kind in
            ["workers", "beats", "queues", "queues_seen", "counts", "jobs", "jobs_created", "jobs_finished", "watches"]
        {
            assert_eq!(monitor.core.query::<i64>("EXISTS", kind, &[]), 0, "{kind}");
        }
        assert_eq!(monitor.maintain(), 0);
        assert_eq!(monitor.core.query::<i64>("EXISTS", "due", &[]), 0);
    });
}
