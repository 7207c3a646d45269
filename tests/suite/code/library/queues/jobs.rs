//! Jobs: their state, their lists, and how many are kept.

use std::collections::BTreeSet;

use holdfast::store::MAX_OBSERVATIONS;

use super::harness::{
    ACTIVE, BULLMQ, BYTES, COMPLETED, COMPLETED_MS, CREATED_MS, ERROR, JobSeen, Monitor, NOON_US, ONLINE, QUEUED,
    STARTED_MS, STATE, STEPS, Source, WATCHED, each_way, job, job_id, queue, worker,
};
use crate::code::library::core::{Item, key, unpacked};

#[test]
fn what_was_observed_becomes_state_and_what_changed_is_published() {
    each_way(|monitor, _| {
        let seen = |at_us, state| JobSeen {
            name: "a",
            at_us: NOON_US + at_us,
            state: Some(state),
            queue: Some("emails"),
            worker: Some("w"),
            ..JobSeen::default()
        };
        let both = [seen(0, QUEUED).packed(), seen(2_000_000, ACTIVE).packed()];
        assert_eq!(monitor.store(WATCHED, &both), (2, 0));
        assert_eq!(monitor.store(WATCHED, &both[1..]), (0, 1), "the same again is known");
        let last =
            [seen(5_000_000, COMPLETED).packed(), queue("emails", NOON_US, 3), worker("w", NOON_US, ONLINE, 7, None)];
        assert_eq!(monitor.store(WATCHED, &last), (3, 0));

        let changes = monitor.published();
        let kinds: Vec<_> = changes.iter().map(|change| change[0].text()).collect();
        assert_eq!(kinds, ["j", "j", "j", "q", "s", "b"]);
        assert_eq!(changes[2][3..5], [Item::Int(COMPLETED), Item::Int(ACTIVE)]);
        assert_eq!(changes[3][1..3], ["emails".into(), Item::Int(3)]);

        let (row, details) = monitor.job("a");
        assert_eq!((row[STATE].int(), details), (COMPLETED, None));
        assert_eq!(row[STARTED_MS].int(), NOON_US / 1000 + 2_000);
        let list = monitor.core.ask_as_caller("job_list", &["", "", "10"]);
        assert_eq!((list.word.as_str(), list.items[0].int(), list.items.len()), ("OK", 1, 4));
        assert_eq!(list.items[2].int(), NOON_US / 1000);
        // It waited 2 s; its end counts for the queue. Its worker came to be known in the same call.
        let field = |kind: &str, name: &str| {
            let slot = (NOON_US / 1000 + 5_000) / 300_000 % 13;
            [&BYTES[..], format!("{kind}{name}\0m{slot}").as_bytes()].concat()
        };
        let counts =
            monitor.core.ask_as_caller("counts_read", &[field("q", "emails"), field("q", "x"), field("w", "w")]);
        assert_eq!(counts.items[1], Item::Absent);
        for item in [&counts.items[0], &counts.items[2]] {
            let counted = unpacked(item.bytes());
            assert_eq!(counted[1..], [Item::Int(1), Item::Int(0), Item::Int(2_000), Item::Int(1)]);
        }
        let queues = monitor.core.ask_as_caller("queue_list", &["0", "10"]);
        assert_eq!((queues.items.len(), &queues.items[0]), (2, &"0".into()));
    });
}

#[test]
fn extensions_are_at_most_64_names_and_too_much_work_is_refused_before_it_is_done() {
    each_way(|monitor, server| {
        let extensions: Vec<_> = (0..1_000).map(|number| (format!("{number}"), "1".to_owned())).collect();
        let seen = |at_us, extensions| {
            JobSeen { name: "a", at_us, state: Some(ACTIVE), extensions: Some(extensions), ..JobSeen::default() }
                .packed()
        };
        monitor.store(WATCHED, &[seen(NOON_US, &extensions)]);
        let changed = [("0".to_owned(), "2".to_owned()), ("one more".to_owned(), "3".to_owned())];
        monitor.store(WATCHED, &[seen(NOON_US + 1_000, &changed)]);
        // Beyond 4,096 bytes a name is left out, and a longer value does not take the place of another.
        let long = [("0".to_owned(), "z".repeat(4_000))];
        monitor.store(WATCHED, &[seen(NOON_US + 2_000, &long)]);
        let first =
            JobSeen { name: "b", at_us: NOON_US, state: Some(ACTIVE), extensions: Some(&long), ..JobSeen::default() };
        let second = [("1".to_owned(), "z".repeat(100)), ("2".to_owned(), "z".to_owned())];
        monitor.store(WATCHED, &[first.packed(), JobSeen { extensions: Some(&second), ..first }.packed()]);
        let names: Vec<_> =
            monitor.job("b").1.unwrap()[8].array().iter().step_by(3).map(|name| name.text().to_owned()).collect();
        assert_eq!(names, ["0", "2"]);
        let (_, details) = monitor.job("a");
        let stored = details.unwrap()[8].array().to_vec();
        assert_eq!(stored.len(), 3 * 64, "name, value, time");
        assert_eq!(stored[..3], ["0".into(), "2".into(), Item::Int(NOON_US + 1_000)]);

        let many: Vec<_> = (0..60).map(|number| seen(NOON_US + number, &extensions)).collect();
        let before: Vec<u8> = monitor.core.query("DUMP", "job_details", &[]);
        assert_eq!(monitor.observe(WATCHED, &many).word, "TOO_MUCH_WORK");
        assert_eq!(monitor.core.query::<Vec<u8>>("DUMP", "job_details", &[]), before);
        let usual: Vec<_> = (0..MAX_OBSERVATIONS).map(|number| job(&format!("{number}"), NOON_US, QUEUED)).collect();
        assert_eq!(monitor.store(WATCHED, &usual), (MAX_OBSERVATIONS as i64, 0));
        assert_eq!(server.ask::<usize>("HLEN hf:{1}:t:jobs"), MAX_OBSERVATIONS + 2);
    });
}

#[test]
fn a_list_has_the_beginning_of_an_error_and_ends_a_piece_before_it_is_long() {
    each_way(|monitor, _| {
        let error = format!("{}{}", "e".repeat(199), "é".repeat(4_000));
        let failed = |name, at_us, error| {
            JobSeen { name, at_us, state: Some(6), error: Some(error), ..JobSeen::default() }.packed()
        };
        monitor.store(WATCHED, &[failed("a", NOON_US, &error)]);
        let list = monitor.core.ask_as_caller("job_list", &["", "", "10"]);
        let listed = unpacked(list.items[3].bytes())[0].array()[ERROR].text().to_owned();
        assert_eq!(listed, "e".repeat(199), "cut between characters");
        assert_eq!(monitor.job("a").0[ERROR], error.as_str().into());
        // A later and shorter one takes its place.
        monitor.store(WATCHED, &[failed("a", NOON_US + 1_000, "short")]);
        assert_eq!(monitor.job("a").0[ERROR], "short".into());

        // Rows of some 1 kB each: fewer than were asked for come, and the next piece goes on behind the last.
        let queue = "q".repeat(255);
        let worker = "w".repeat(512);
        for from in (0..600).step_by(100) {
            let jobs: Vec<_> = (from..from + 100)
                .map(|number| {
                    let (name, at_us) = (format!("job-{number}"), NOON_US + 1_000_000 + number);
                    let seen =
                        JobSeen { name: &name, at_us, state: Some(ACTIVE), queue: Some(&queue), ..JobSeen::default() };
                    JobSeen { worker: Some(&worker), ..seen }.packed()
                })
                .collect();
            monitor.store(WATCHED, &jobs);
        }
        let (mut found, mut pieces) = (BTreeSet::new(), 0);
        let (mut made, mut last) = (String::new(), Vec::new());
        loop {
            let piece = monitor.core.ask_as_caller("job_list", &[made.as_bytes(), &last, b"1000"]);
            let rows: Vec<_> = piece.items[1..].chunks(3).collect();
            let size: usize = rows.iter().map(|row| row[2].bytes().len()).sum();
            assert!(size < 400 * 1024, "{size} bytes");
            found.extend(rows.iter().map(|row| row[0].bytes().to_vec()));
            (made, last) = (rows[rows.len() - 1][1].int().to_string(), rows[rows.len() - 1][0].bytes().to_vec());
            pieces += 1;
            if piece.word == "OK" {
                break;
            }
            assert_eq!(piece.word, "MORE");
        }
        assert_eq!((found.len(), pieces > 1), (601, true));
    });
}

#[test]
fn a_job_id_that_is_used_again_after_the_job_ended_is_a_new_run() {
    each_way(|monitor, _| {
        let bullmq = Source { framework: BULLMQ, ..WATCHED };
        let extensions = [("x".to_owned(), "1".to_owned())];
        let failed = JobSeen { name: "a", at_us: NOON_US, state: Some(6), error: Some("wrong"), ..JobSeen::default() };
        monitor.store(bullmq, &[JobSeen { extensions: Some(&extensions), ..failed }.packed()]);
        // BullMQ's streams have the true order: what is queued after the end begins again, at once.
        monitor.store(bullmq, &[job("a", NOON_US + 2_000, QUEUED), job("a", NOON_US + 5_000, ACTIVE)]);
        let (row, details) = monitor.job("a");
        assert_eq!((row[STATE].int(), row[CREATED_MS].int(), details), (ACTIVE, NOON_US / 1000 + 2, None));
        assert_eq!((&row[COMPLETED_MS], &row[ERROR]), (&Item::Absent, &Item::Absent));
        assert_eq!(row[STEPS].array().len(), 2 * 5);
        let states = [(6, None), (QUEUED, None), (ACTIVE, Some(QUEUED))];
        assert_eq!(monitor.published_states(), states);
        // Late events of the first run change nothing.
        monitor.store(bullmq, &[job("a", NOON_US - 1_000, COMPLETED)]);
        assert_eq!(monitor.job("a").0[STATE].int(), ACTIVE);
    });
}

/// The end of a job, as if it had been received 11 s before it was.
fn end_long_ago(monitor: &mut Monitor, name: &str) {
    let ended = monitor.observe(WATCHED, &[job(name, NOON_US, COMPLETED)]);
    let redis = &mut monitor.core.redis;
    let mut packed: Vec<u8> = redis::cmd("HGET").arg(key("jobs")).arg(&job_id(name)).query(redis).unwrap();
    let received_ms = (ended.now_us / 1000).to_be_bytes();
    let at = packed.windows(8).position(|bytes| bytes == received_ms).expect("when its end was received");
    packed[at..at + 8].copy_from_slice(&(ended.now_us / 1000 - 11_000).to_be_bytes());
    redis::cmd("HSET").arg(key("jobs")).arg(&job_id(name)).arg(packed).exec(redis).unwrap();
}

#[test]
fn where_clocks_differ_a_job_begins_again_only_long_after_its_end() {
    each_way(|monitor, _| {
        monitor.store(WATCHED, &[job("a", NOON_US, COMPLETED)]);
        monitor.store(WATCHED, &[job("a", NOON_US + 20_000_000, QUEUED)]);
        assert_eq!(monitor.job("a").0[STATE].int(), COMPLETED, "its end was just received");
        // What came too early to be certain is part of the run that another event begins, or the same one.
        end_long_ago(monitor, "b");
        monitor.store(WATCHED, &[job("b", NOON_US + 5_000_000, QUEUED)]);
        assert_eq!(monitor.job("b").0[STATE].int(), COMPLETED, "within 10 s of the end the order is not certain");
        monitor.store(WATCHED, &[job("b", NOON_US + 21_000_000, ACTIVE)]);
        let (row, _) = monitor.job("b");
        assert_eq!((row[STATE].int(), row[CREATED_MS].int()), (ACTIVE, NOON_US / 1000 + 21_000));
        assert_eq!(row[STEPS].array().len(), 5);

        for (name, trigger) in
            [("c", job("c", NOON_US + 20_000_000, QUEUED)), ("d", job("d", NOON_US + 21_000_000, ACTIVE))]
        {
            monitor.store(WATCHED, &[job(name, NOON_US, QUEUED), job(name, NOON_US + 20_000_000, QUEUED)]);
            end_long_ago(monitor, name);
            monitor.store(WATCHED, &[trigger]);
            let (row, _) = monitor.job(name);
            assert_eq!(row[CREATED_MS].int(), NOON_US / 1000 + 20_000);
            assert_eq!(row[STATE].int(), if name == "c" { QUEUED } else { ACTIVE });
        }
    });
}

#[test]
fn who_stores_long_texts_keeps_fewer_jobs_and_the_oldest_finished_go_first() {
    each_way(|monitor, _| {
        let few = Source { jobs: "20", ..WATCHED };
        let open = job("open", NOON_US, ACTIVE);
        monitor.store(few, &[open]);
        let text = [("x".to_owned(), "z".repeat(4_000))];
        for number in 0..20 {
            let name = format!("job-{number:02}");
            let seen = JobSeen { name: &name, at_us: NOON_US + number, state: Some(COMPLETED), ..JobSeen::default() };
            monitor.store(few, &[JobSeen { extensions: Some(&text), ..seen }.packed()]);
        }
        // 20 of 2,000 bytes on average: of those of 4,500 there is room for 8.
        let bytes: i64 = monitor.core.query("HGET", "counts", &["bytes"]);
        assert!(bytes <= 40_000, "{bytes}");
        let kept: i64 = monitor.core.query("HLEN", "jobs", &[]);
        assert!((7..=9).contains(&kept), "{kept}");
        assert_eq!(monitor.job("open").0[STATE].int(), ACTIVE);
        assert_eq!(monitor.job("job-19").0[STATE].int(), COMPLETED);
        assert_eq!(monitor.core.query::<i64>("HLEN", "job_details", &[]), kept - 1);

        // After a day nothing is left of them, nor of their sum.
        for index in ["jobs_open", "jobs_finished"] {
            monitor.age(index, 24 * 3_600_000 + 1);
        }
        assert_eq!(monitor.maintain(), kept);
        assert_eq!(monitor.core.query::<i64>("EXISTS", "jobs", &[]), 0);
        assert!(!monitor.core.query::<bool>("HEXISTS", "counts", &["bytes"]));
    });
}
