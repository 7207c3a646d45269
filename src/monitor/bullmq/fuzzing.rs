//! Entry for fuzzing: an entry of BullMQ's event streams.

use std::collections::HashMap;

use redis::{Value, streams::StreamId};

use super::{
    job_hash::{FIELDS, JobHash},
    mapping::{self, UnstartedJobs, external_id},
    queues::parse_client_list,
};

/// Maps an entry. Its parts stand between zero bytes: its id, the values of its job's hash, then names and values of its own fields.
pub fn entry(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
    let id = text(parts.next()).unwrap_or_default();
    let hash = JobHash::decode([(); FIELDS.len()].map(|()| parts.next().map(<[u8]>::to_vec)));
    let mut map = HashMap::new();
    while let (Some(name), Some(value)) = (text(parts.next()), parts.next()) {
        map.insert(name, Value::BulkString(value.to_vec()));
    }
    let entry = StreamId { id, map, ..StreamId::default() };
    let job = mapping::field(&entry, "jobId").unwrap_or_default().to_owned();
    let hashes = HashMap::from([(external_id("q", &job), hash)]);
    let mut unstarted = UnstartedJobs::default();
    for _ in 0..2 {
        let _ = mapping::observation("bull", "q", &entry, &hashes, &mut unstarted);
    }
    let line = String::from_utf8_lossy(bytes);
    let _ = (mapping::queue_of_stream("bull", &line), parse_client_list("bull", &line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_bounds_are_taken() {
        for id in ["9223372036854775807-9223372036854775807", "-9223372036854775808-1", "x", ""] {
            let hash = [
                "n",
                "9223372036854775807",
                "{\"attempts\":18446744073709551615}",
                "w",
                "-1",
                "[\"\"]",
                "x",
                "bull:q:1",
            ];
            let fields = ["event", "delayed", "jobId", "1", "delay", "9223372036854775807", "prev", "active"];
            entry([&[id][..], &hash, &fields].concat().join("\0").as_bytes());
        }
    }
}
