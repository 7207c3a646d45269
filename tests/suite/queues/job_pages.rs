//! Pages of the list of jobs, over every sort and order.

use holdfast::domain::{
    queue::{JobFilter, JobObservation, JobQuery, JobSort, JobState, SortKey, SortOrder},
    tier::Tier,
};

use crate::queues::observation_bench::{ObservationBench, at, job};

/// 250 jobs: many of the same instant, and a third without a queue.
async fn bench_with_jobs() -> ObservationBench {
    let bench = ObservationBench::start(Tier::Pro).await;
    let observations: Vec<_> = (0..250)
        .map(|number| {
            let state = if number % 2 == 0 { JobState::Active } else { JobState::Completed };
            job(JobObservation {
                name: Some(format!("task.{}", number % 7)),
                queue: (number % 3 != 0).then(|| format!("q{}", number % 5)),
                ..at((number / 50) * 10, &format!("j{number}"), Some(state))
            })
        })
        .collect();
    bench.observe(&observations).await;
    bench
}

#[tokio::test]
async fn pages_have_every_job_once_in_every_sort_and_order() {
    let bench = bench_with_jobs().await;
    for (_, sort) in JobSort::ALL {
        for order in [SortOrder::Descending, SortOrder::Ascending] {
            let mut query = JobQuery { filter: JobFilter::default(), sort, order, after: None, limit: 40 };
            let mut found = Vec::new();
            loop {
                let page = bench.page(&query).await;
                assert_eq!(page.total, 250);
                assert!(page.jobs.len() == 40 || !page.has_more);
                query.after = page.jobs.last().map(|(position, _)| position.clone());
                found.extend(page.jobs);
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(found.len(), 250, "{sort:?}");
            let mut ids: Vec<_> = found.iter().map(|(_, job)| job.id).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), 250, "{sort:?}");
            assert!(found.windows(2).all(|pair| pair[0].0.compare(&pair[1].0, order).is_lt()), "{sort:?}");
            let first_absent = found.iter().position(|(position, _)| position.key == SortKey::Absent);
            let rest = first_absent.map_or(&[][..], |index| &found[index..]);
            assert!(rest.iter().all(|(position, _)| position.key == SortKey::Absent), "absent values come last");
        }
    }
}

#[tokio::test]
async fn a_filtered_page_has_the_matching_jobs_alone() {
    let bench = bench_with_jobs().await;
    let page = bench
        .page(&JobQuery {
            filter: JobFilter { state: Some(JobState::Active), search: Some("TASK.3".into()), ..JobFilter::default() },
            sort: JobSort::CreatedAt,
            order: SortOrder::Descending,
            after: None,
            limit: 100,
        })
        .await;
    assert_eq!(page.total, (0..250).filter(|number| number % 2 == 0 && number % 7 == 3).count() as i64);
    assert_eq!(page.total, page.jobs.len() as i64);
}
