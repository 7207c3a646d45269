//! Which libraries of functions are in use: builds that run side by side have one each, and what nobody has used for a day is removed.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, Value};

use crate::store::{
    Store, StoreError,
    keys::LIBRARIES,
    library::{LIBRARY, LIBRARY_PREFIX},
};

/// How long a library stays after its last use: a build that is rolled back finds its own.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Most libraries that are looked at in one turn.
const MAX_LIBRARIES: usize = 1_000;

impl Store {
    /// Notes that this build's library is in use, and removes those that nobody has used for a day. To be repeated about once an hour. A library that
    /// nobody noted counts from now on.
    ///
    /// # Errors
    /// As [`StoreError`] says; the next turn makes up for it.
    pub async fn note_library_use(&self) -> Result<(), StoreError> {
        if !self.redis.has_functions() {
            return Ok(());
        }
        let (ours, now_ms) = (LIBRARY.loaded.name.as_str(), self.clock().await?.now_ms);
        self.redis.send(redis::cmd("HSET").arg(LIBRARIES).arg(ours).arg(now_ms)).await?;
        let noted: HashMap<String, i64> = read(self.redis.send(redis::cmd("HGETALL").arg(LIBRARIES)).await?)?;
        for name in self.loaded_libraries().await? {
            if !noted.contains_key(&name) {
                self.redis.send(redis::cmd("HSETNX").arg(LIBRARIES).arg(&name).arg(now_ms)).await?;
            }
        }
        let is_unused = |(name, at_ms): &(String, i64)| name != ours && now_ms - at_ms > KEPT.as_millis() as i64;
        for (name, _) in noted.into_iter().filter(is_unused).take(MAX_LIBRARIES) {
            // In a cluster it goes on every primary. One that is gone already is no loss.
            let deleted = self.redis.send(redis::cmd("FUNCTION").arg("DELETE").arg(&name)).await;
            tracing::info!(
                name,
                was_there = deleted.is_ok(),
                "a library of functions that nobody used for a day is removed"
            );
            self.redis.send(redis::cmd("HDEL").arg(LIBRARIES).arg(&name)).await?;
        }
        Ok(())
    }

    /// The names of our builds' libraries on this server, in a cluster on one of them.
    async fn loaded_libraries(&self) -> Result<Vec<String>, StoreError> {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(format!("{LIBRARY_PREFIX}*"));
        let libraries: Vec<HashMap<String, Value>> = read(self.redis.send(&list).await?)?;
        let name = |library: &HashMap<String, Value>| read::<String>(library.get("library_name")?.clone()).ok();
        Ok(libraries.iter().filter_map(name).take(MAX_LIBRARIES).collect())
    }
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value)
        .map_err(|_| StoreError::UnexpectedReply { function: "library_use", got: "another shape".into() })
}
