//! Inputs that once failed, each as small as it was found.

use super::{
    Bench,
    ops::{Op, one, queue, queue_all, queue_slots, several, take, with_quantity},
};

/// What an item of a call plans of tickets holds for the items behind it.
fn calls_that_see_what_they_plan() -> Vec<Vec<Op>> {
    let wait = |priority| Some((priority, false));
    let all = |requester, names: &[&'static str], wait| (several("ALL_OR_NONE", requester, names), wait);
    vec![
        // A greater priority keeps at once what it wants.
        vec![
            take("w2", "b"),
            queue("w1", "X", -5),
            Op::Batch(vec![(one("w1", "X"), wait(0)), (one("w2", "X"), wait(0))]),
        ],
        vec![
            take("w2", "b"),
            queue_all("w1", &["b", "c"], -5),
            Op::Transactions(vec![all("w1", &["b", "c"], wait(0)), all("w2", &["c"], wait(0))]),
        ],
        // A lower one lets go of it at once.
        vec![
            take("w0", "b"),
            queue("w1", "X", 5),
            Op::Batch(vec![(one("w1", "X"), wait(-5)), (one("w0", "X"), wait(0))]),
        ],
        // The same ticket twice leaves one place.
        vec![
            take("w0", "a"),
            queue("w1", "a", 0),
            Op::Batch(vec![(one("w1", "a"), wait(5)), (one("w1", "a"), wait(-5))]),
            queue("w2", "a", 0),
        ],
        vec![
            take("w0", "a"),
            Op::Batch(vec![(one("w1", "a"), wait(-5)), (one("w2", "a"), wait(0)), (one("w1", "a"), wait(5))]),
            Op::Release(0),
        ],
        // Fewer slots leave the others to who comes later, more keep them.
        vec![
            take("w0", "P"),
            queue("w2", "P", 0),
            Op::Batch(vec![(with_quantity(one("w2", "P"), Some(1)), wait(0)), (one("w1", "P"), wait(0))]),
        ],
        // What can be had by nobody changes nothing of the ticket.
        vec![
            take("w0", "P"),
            queue("w2", "P", 0),
            Op::Batch(vec![(with_quantity(one("w2", "P"), Some(3)), wait(5))]),
            queue("w1", "P", 1),
        ],
        // A circle is told where all of it is asked for in one call.
        vec![take("w0", "a"), take("w1", "b"), Op::Batch(vec![(one("w0", "b"), wait(0)), (one("w1", "a"), wait(0))])],
        // A ticket that is served in the call keeps no more than it took.
        vec![
            take("w0", "a"),
            take("w3", "c"),
            queue_all("w3", &["a", "b"], 0),
            Op::Transactions(vec![(several("AS_MANY_AS_POSSIBLE", "w1", &["a", "b"]), wait(-5))]),
            Op::Transactions(vec![
                (several("AS_MANY_AS_POSSIBLE", "w1", &["a", "b"]), wait(5)),
                all("w2", &["a"], None),
            ]),
        ],
    ]
}

/// Who holds what another waits for comes after him all the same, however he got it.
fn what_is_held_oneself() -> Vec<Vec<Op>> {
    let many = |names: &[&'static str]| {
        Op::Transactions(vec![(several("AS_MANY_AS_POSSIBLE", "w2", names), Some((0, false)))])
    };
    let mut inputs = Vec::new();
    for (holds, wants) in [("b", "X"), ("mid", "leaf"), ("root", "mid"), ("leaf", "root"), ("P_0", "P")] {
        // By a call of his own, by a ticket of one item, by one of several; the last two he has not seen yet.
        let got = [
            vec![take("w2", holds)],
            vec![take("w0", holds), queue("w2", holds, 0), Op::Release(0)],
            vec![take("w0", holds), many(&[holds]), Op::Release(0)],
        ];
        for mut input in got {
            input.extend([queue("w1", wants, 0), queue("w2", wants, 0), take("w2", wants), Op::Release(0)]);
            inputs.push(input);
        }
    }
    inputs
}

#[test]
fn what_once_failed() {
    let bench = Bench::start();
    let (all, many) = ("ALL_OR_NONE", "AS_MANY_AS_POSSIBLE");
    let inputs = [
        // What one holds oneself closes no circle.
        vec![take("w0", "c"), take("w1", "X"), queue_all("w1", &["c", "X"], 0)],
        // A lower priority gives up what was kept at the higher one.
        vec![take("w0", "b"), queue_all("w1", &["a", "b"], 0), queue("w2", "a", -3), queue_all("w1", &["a", "b"], -5)],
        // A pool is no longer kept for several slots: somebody waits for one by its own name.
        vec![take("w0", "P_0"), queue("w2", "P", 0), queue("w1", "P_1", 0), Op::Cancel(0)],
        // A slot that is kept by its own name is passed over.
        vec![take("w0", "a"), queue_all("w1", &["P_0", "a"], 0), take("w0", "P"), take("w2", "P")],
        // Whoever asks again, waiting, has seen what it got.
        vec![take("w0", "a"), queue("w1", "a", 0), Op::Release(0), queue("w1", "a", 0), Op::Cancel(0)],
        // Who comes later in the same call comes later.
        vec![
            take("w0", "b"),
            Op::Transactions(vec![
                (several(all, "w1", &["a", "b"]), Some((0, false))),
                (several(all, "w2", &["a"]), None),
            ]),
        ],
        // The same wish twice in one call is one ticket.
        vec![take("w0", "a"), Op::Batch(vec![(one("w1", "a"), Some((0, false))), (one("w1", "a"), Some((0, false)))])],
        // The same transaction without waiting leaves the ticket as it is.
        vec![
            take("w0", "b"),
            queue_all("w1", &["a", "b"], 5),
            Op::Transactions(vec![(several(all, "w1", &["a", "b"]), None)]),
            queue_all("w2", &["b", "c"], 1),
        ],
        // A ticket that took less than it kept leaves the rest to the next.
        vec![
            take("w0", "a"),
            take("w0", "P_0"),
            take("w0", "P_1"),
            Op::Transactions(vec![(several(many, "w2", &["a", "P"]), Some((0, false)))]),
            queue("w1", "P_0", -5),
            Op::Release(1),
            Op::Release(0),
        ],
        // What one ticket got is all that another of the same requester wants.
        vec![take("w1", "c"), queue("w0", "c", 0), queue("w2", "c", 0), queue_all("w0", &["c"], 0), Op::Release(0)],
        // What a ticket got was ended by force before anybody saw it; the same wish waits anew.
        vec![
            take("w0", "root"),
            queue("w1", "root", 0),
            Op::Release(0),
            Op::ForceRelease("root"),
            take("w0", "root"),
            queue("w1", "root", 0),
            Op::Cancel(0),
        ],
        // A ticket that was served has no place any more from which it may take.
        vec![
            take("w0", "X"),
            take("w0", "c"),
            Op::Transactions(vec![(several(many, "w1", &["X", "c"]), Some((0, false)))]),
            queue_all("w2", &["c", "a"], 0),
            take("w3", "a"),
            Op::Release(0),
            Op::Release(0),
            Op::Transactions(vec![(several(many, "w1", &["X", "c"]), Some((0, false)))]),
        ],
        // Who waits behind others, and is served by asking anew without waiting, waits no longer, and has seen it.
        vec![take("w3", "b"), queue_all("w1", &["b", "a"], -5), queue("w0", "a", -5), take("w0", "a")],
        // A ticket that is served by asking again shows the token with which it is held.
        vec![take("w0", "a"), queue_all("w1", &["a", "b"], 0), queue("w2", "b", 0), queue("w2", "b", 5)],
        vec![
            take("w0", "P_0"),
            queue_all("w2", &["P"], 0),
            Op::Transactions(vec![(with_quantity(several(all, "w2", &["P"]), Some(1)), None)]),
        ],
        // Who takes fewer slots than it waits for leaves the rest to the next.
        vec![
            Op::Capacity(4),
            take("w0", "P"),
            queue_slots("w2", 4, -5),
            queue_slots("w1", 1, -6),
            Op::Reserve { wish: with_quantity(one("w2", "P"), Some(1)), wait: None, ends: false },
        ],
        // Two tickets leave a line when what they want takes something else along.
        vec![
            Op::Blocks(vec!["b", "c"]),
            take("w3", "b"),
            queue("w1", "X", 0),
            queue("w2", "X", 0),
            queue("w2", "c", -5),
            Op::Blocks(vec!["a"]),
        ],
    ];
    for input in inputs.into_iter().chain(calls_that_see_what_they_plan()).chain(what_is_held_oneself()) {
        bench.carry_out(&input);
    }
}
