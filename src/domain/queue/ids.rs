//! Ids of jobs, workers and queues: UUIDs of version 5, a hash of the connection and the framework's own id.
//!
//! The same input always gives the same id, so no table of both is needed.

use uuid::Uuid;

/// Id of a job, by its connection and the framework's id.
#[must_use]
pub fn job_id(connection: Uuid, external_id: &str) -> Uuid {
    id(connection, "job", external_id)
}

/// Id of a worker, by its connection and the framework's id.
#[must_use]
pub fn worker_id(connection: Uuid, external_id: &str) -> Uuid {
    id(connection, "worker", external_id)
}

/// Id of a queue, by its connection and its name.
#[must_use]
pub fn queue_id(connection: Uuid, name: &str) -> Uuid {
    id(connection, "queue", name)
}

fn id(connection: Uuid, kind: &str, external_id: &str) -> Uuid {
    let name = [kind.as_bytes(), b"\0", external_id.as_bytes()].concat();
    Uuid::new_v5(&connection, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_the_connection_the_kind_and_the_name() {
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert_eq!(job_id(one, "a"), job_id(one, "a"));
        assert_ne!(job_id(one, "a"), job_id(other, "a"));
        assert_ne!(job_id(one, "a"), worker_id(one, "a"));
    }
}
