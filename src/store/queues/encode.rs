//! Encoders of observations, as the function `observe` reads them. Their layouts stand in `lua/README.md`.
//!
//! Texts are cut to the limits of [`JobObservation`] here.

use uuid::Uuid;

use crate::{
    domain::queue::{
        JobObservation, Observation, QueueObservation, WorkerObservation, job_id, truncate_utf8, worker_id,
    },
    store::codec::Writer,
};

/// Maximum number of queues stored of a worker.
const MAX_WORKER_QUEUES: usize = 100;

/// Encodes stream names and cursors, in turn.
pub(super) fn encode_cursors(cursors: &[(String, String)]) -> Vec<u8> {
    let array = Writer::default().array(cursors.len() * 2);
    cursors.iter().fold(array, |writer, (name, cursor)| writer.text(name).text(cursor)).done()
}

pub(super) fn encode(connection: Uuid, observation: &Observation) -> Vec<u8> {
    match observation {
        Observation::Job(job) => encode_job(connection, job),
        Observation::Worker(worker) => encode_worker(connection, worker),
        Observation::Queue(queue) => encode_queue(queue),
        Observation::Gap(gap) => {
            Writer::default().array(4).text("G").int(gap.from_ms).int(gap.to_ms).text(gap.reason.name()).done()
        }
    }
}

fn encode_job(connection: Uuid, job: &JobObservation) -> Vec<u8> {
    let external_id = truncate_utf8(&job.external_id, JobObservation::ID_BYTES);
    let writer = Writer::default()
        .array(19)
        .text("J")
        .binary(job_id(connection, external_id).as_bytes())
        .text(external_id)
        .int(job.at_us)
        .int(job.clock)
        .maybe_int(job.state.map(|state| state.code()))
        .boolean(job.restarted)
        .int(job.attempt.unwrap_or(0).into())
        .maybe_text(truncated(&job.name, JobObservation::NAME_BYTES))
        .maybe_text(truncated(&job.queue, JobObservation::QUEUE_BYTES))
        .maybe_text(truncated(&job.worker, JobObservation::ID_BYTES))
        .maybe_text(truncated(&job.error, JobObservation::ERROR_BYTES))
        .maybe_int(job.created_ms)
        .maybe_int(job.started_ms)
        .maybe_int(job.completed_ms)
        .maybe_int(job.scheduled_ms)
        .maybe_int(job.runtime_ms)
        .boolean(false);
    if has_details(job) { encode_details(writer, job) } else { writer.boolean(false) }.done()
}

fn has_details(job: &JobObservation) -> bool {
    let texts = [&job.args, &job.kwargs, &job.result, &job.stacktrace, &job.parent_id, &job.root_id];
    texts.iter().any(|text| text.is_some())
        || job.max_retries.is_some()
        || job.progress.is_some()
        || !job.extensions.is_empty()
}

fn encode_details(writer: Writer, job: &JobObservation) -> Writer {
    let writer = writer.array(9).maybe_int(job.max_retries.map(Into::into));
    let writer = match job.progress {
        Some(progress) => writer.float(progress),
        None => writer.boolean(false),
    };
    let writer = writer
        .maybe_text(truncated(&job.args, JobObservation::TEXT_BYTES))
        .maybe_text(truncated(&job.kwargs, JobObservation::TEXT_BYTES))
        .maybe_text(truncated(&job.result, JobObservation::TEXT_BYTES))
        .maybe_text(truncated(&job.stacktrace, JobObservation::STACKTRACE_BYTES))
        .maybe_text(truncated(&job.parent_id, JobObservation::ID_BYTES))
        .maybe_text(truncated(&job.root_id, JobObservation::ID_BYTES));
    encode_extensions(writer, &job.extensions)
}

fn encode_worker(connection: Uuid, worker: &WorkerObservation) -> Vec<u8> {
    let external_id = truncate_utf8(&worker.external_id, JobObservation::ID_BYTES);
    let writer = Writer::default()
        .array(13)
        .text("W")
        .binary(worker_id(connection, external_id).as_bytes())
        .text(external_id)
        .int(worker.at_us)
        .int(worker.state.code())
        .text(truncate_utf8(&worker.hostname, JobObservation::ID_BYTES))
        .maybe_int(worker.pid)
        .maybe_int(worker.active_jobs.map(Into::into))
        .maybe_int(worker.processed)
        .maybe_int(worker.concurrency.map(Into::into));
    let writer = match &worker.queues {
        Some(queues) => {
            let queues = &queues[..queues.len().min(MAX_WORKER_QUEUES)];
            queues.iter().fold(writer.array(queues.len()), |writer, name| {
                writer.text(truncate_utf8(name, JobObservation::QUEUE_BYTES))
            })
        }
        None => writer.boolean(false),
    };
    let writer =
        if worker.metadata.is_empty() { writer.boolean(false) } else { encode_extensions(writer, &worker.metadata) };
    writer.boolean(worker.is_found).done()
}

fn encode_queue(queue: &QueueObservation) -> Vec<u8> {
    Writer::default()
        .array(7)
        .text("Q")
        .boolean(false)
        .text(truncate_utf8(&queue.name, JobObservation::QUEUE_BYTES))
        .int(queue.at_us)
        .maybe_int(queue.depth.map(|depth| depth as i64))
        .maybe_int(queue.consumers.and_then(|(count, _)| count.map(Into::into)))
        .maybe_int(queue.consumers.map(|(_, source)| source.code()))
        .done()
}

/// Encodes names and values in turn, as many as fit into [`JobObservation::EXTENSIONS_BYTES`].
fn encode_extensions(writer: Writer, extensions: &[(String, String)]) -> Writer {
    let mut bytes = 0;
    let fits = |(name, value): &&(String, String)| {
        let next = bytes + name.len() + value.len();
        let fits = next <= JobObservation::EXTENSIONS_BYTES;
        if fits {
            bytes = next;
        }
        fits
    };
    let fitting: Vec<_> = extensions.iter().filter(fits).collect();
    let array = writer.array(fitting.len() * 2);
    fitting.iter().fold(array, |writer, (name, value)| writer.text(name).text(value))
}

fn truncated(text: &Option<String>, max_bytes: usize) -> Option<&str> {
    text.as_deref().map(|text| truncate_utf8(text, max_bytes))
}
