//! Which builds' libraries are in use. What nobody has used for a day is removed.
//!
//! Libraries belong to the server, whatever its databases and prefixes, so the notes of their use do, too: each is a tiny library of its own,
//! which holds the time. Installations that share a server see each other's notes, and never remove what another one uses.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, Value};

use crate::store::{
    Store, StoreError,
    library::{LIBRARY, LIBRARY_PREFIX},
};

/// How long a library stays after its last use: a build that is rolled back finds its own.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Most libraries that are looked at in one turn.
const MAX_LIBRARIES: usize = 1_000;
/// Prefix of a note's name; the library's version follows.
const NOTE_PREFIX: &str = "holdfastuse_";
/// What stands before the time in a note, in milliseconds since the Unix epoch.
const NOTED_AT: &str = "-- last used at ";

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
        let (ours, now_ms) = (LIBRARY.version.as_str(), self.clock().await?.now_ms);
        self.redis.send(redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(note_text(ours, now_ms))).await?;
        let noted = self.noted_uses().await?;
        let loaded = self.loaded_versions().await?;
        for version in loaded.iter().filter(|version| !noted.contains_key(*version)) {
            // Another replica may note it at the same moment: then its note is there already.
            let _ = self.redis.send(redis::cmd("FUNCTION").arg("LOAD").arg(note_text(version, now_ms))).await;
        }
        let is_unused = |(version, at_ms): &(String, i64)| version != ours && now_ms - at_ms > KEPT.as_millis() as i64;
        for (version, _) in noted.into_iter().filter(is_unused).take(MAX_LIBRARIES) {
            // In a cluster it goes on every primary. One that is gone already is no loss.
            let name = format!("{LIBRARY_PREFIX}{version}");
            let deleted = self.redis.send(redis::cmd("FUNCTION").arg("DELETE").arg(&name)).await;
            tracing::info!(
                name,
                was_there = deleted.is_ok(),
                "a library of functions that nobody used for a day is removed"
            );
            self.redis.send(redis::cmd("FUNCTION").arg("DELETE").arg(format!("{NOTE_PREFIX}{version}"))).await?;
        }
        Ok(())
    }

    /// When each build's library was last noted to be in use, by its version.
    async fn noted_uses(&self) -> Result<HashMap<String, i64>, StoreError> {
        let notes = self.list_libraries(NOTE_PREFIX, true).await?;
        let text = |note: &HashMap<String, Value>| read::<String>(note.get("library_code")?.clone()).ok();
        Ok(notes
            .into_iter()
            .filter_map(|(version, note)| Some((version, text(&note).as_deref().and_then(time_of_note)?)))
            .collect())
    }

    /// The versions of our builds' libraries on this server, in a cluster on one of them.
    async fn loaded_versions(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.list_libraries(LIBRARY_PREFIX, false).await?.into_iter().map(|(version, _)| version).collect())
    }

    /// What the server says of libraries whose names begin with `prefix`, by what follows that.
    async fn list_libraries(
        &self,
        prefix: &str,
        with_code: bool,
    ) -> Result<Vec<(String, HashMap<String, Value>)>, StoreError> {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(format!("{prefix}*"));
        if with_code {
            list.arg("WITHCODE");
        }
        let libraries: Vec<HashMap<String, Value>> = read(self.redis.send(&list).await?)?;
        let rest = |library: &HashMap<String, Value>| {
            let name = read::<String>(library.get("library_name")?.clone()).ok()?;
            name.strip_prefix(prefix).map(str::to_owned)
        };
        Ok(libraries.into_iter().filter_map(|library| Some((rest(&library)?, library))).take(MAX_LIBRARIES).collect())
    }
}

/// The note that the library of a version was in use. A library has to have a function.
fn note_text(version: &str, at_ms: i64) -> String {
    let name = format!("{NOTE_PREFIX}{version}");
    format!("#!lua name={name}\n{NOTED_AT}{at_ms}\nredis.register_function('{name}', function() return 1 end)\n")
}

fn time_of_note(text: &str) -> Option<i64> {
    text.lines().find_map(|line| line.strip_prefix(NOTED_AT)?.trim().parse().ok())
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    redis::from_redis_value(value)
        .map_err(|_| StoreError::UnexpectedReply { function: "library_use", got: "another shape".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_holds_its_time() {
        assert_eq!(time_of_note(&note_text("0a1b2c3d", 1_795_340_100_000)), Some(1_795_340_100_000));
        assert_eq!(time_of_note("#!lua name=other\n"), None);
    }
}
