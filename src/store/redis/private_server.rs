//! A Redis of our own: for whoever wants to run one process and nothing else.
//!
//! The server is our child. It dies with us even when we are killed: `setpriv --pdeathsig` asks the kernel for that, which needs
//! no unsafe code here. The signal follows the thread that started the child, so [`PrivateRedis::start`] is called on the main
//! thread, which lives as long as the process. The data directory is locked by a file that the child inherits as its standard
//! input: the lock lasts until the last of the two is gone, so a new service never starts a second server over files that the
//! old one is still writing.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::store::Address;

/// How long a server may take to load its data and answer.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long the server of a service that was killed may take to write its last bytes and leave.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// The kernel's bound on a unix socket's path, less the closing NUL.
const SOCKET_PATH_BYTES: usize = 107;

/// Why the private Redis did not start.
#[derive(Debug, thiserror::Error)]
pub enum PrivateRedisError {
    /// Another Holdfast runs there.
    #[error("{dir} is in use by process {pid}; stop that one, or give this one another HOLDFAST_DATA_DIR")]
    InUse {
        /// The data directory.
        dir: String,
        /// The process that has it.
        pid: String,
    },
    /// The directory cannot be used.
    #[error("{dir} cannot be used as HOLDFAST_DATA_DIR: {error}")]
    Directory {
        /// The data directory.
        dir: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A program is missing.
    #[error(
        "{program} cannot be started ({error}); install it (Debian: apt-get install redis-server util-linux), or set HOLDFAST_REDIS_URL to use another Redis"
    )]
    Program {
        /// Which one.
        program: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// It started and ended, or never answered.
    #[error("the private redis-server did not come up ({what}); its log is {log}")]
    NotUp {
        /// What happened instead.
        what: String,
        /// Where to look.
        log: String,
    },
}

/// A running private Redis. Dropping it kills the server; [`PrivateRedis::stop`] lets it leave in order.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    socket: PathBuf,
    _lock: File,
}

impl PrivateRedis {
    /// Locks the directory, starts a server over the files in it, and waits until it answers.
    ///
    /// # Errors
    /// As [`PrivateRedisError`] says, each with the way out.
    pub async fn start(dir: &Path) -> Result<Self, PrivateRedisError> {
        let fault = |error| PrivateRedisError::Directory { dir: dir.display().to_string(), error };
        std::fs::create_dir_all(dir).map_err(fault)?;
        let dir = dir.canonicalize().map_err(fault)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).map_err(fault)?;
        let lock = lock(&dir).await?;
        let files = dir.join("redis");
        std::fs::create_dir_all(&files).map_err(fault)?;
        let socket = socket_path(&dir).map_err(fault)?;
        let _ = std::fs::remove_file(&socket);
        let log = dir.join("redis.log");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "redis-server", "--port", "0", "--daemonize", "no"])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--unixsocketperm", "700"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(&files)
            .arg("--logfile")
            .arg(&log)
            .stdin(lock.try_clone().map_err(fault)?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0) // a Ctrl-C at the terminal is for us: the server stays until we have drained
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| PrivateRedisError::Program { program: "setpriv", error })?;
        let mut redis = Self { child, socket, _lock: lock };
        redis.answers(&log).await?;
        Ok(redis)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Lets the server write what it has and leave.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        }
        if tokio::time::timeout(LEAVE_PATIENCE, self.child.wait()).await.is_err() {
            tracing::warn!("the private redis-server did not leave in time; killing it");
        }
    }

    /// Waits until the server answers, or ended, or took too long.
    async fn answers(&mut self, log: &Path) -> Result<(), PrivateRedisError> {
        let not_up = |what: String| PrivateRedisError::NotUp { what, log: log.display().to_string() };
        let address = Address::parse(&self.url()).map_err(|error| not_up(error.to_string()))?;
        let started = Instant::now();
        while started.elapsed() < START_PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                // setpriv's own word for a program that it does not find.
                if status.code() == Some(127) {
                    let error = std::io::Error::new(std::io::ErrorKind::NotFound, "not found");
                    return Err(PrivateRedisError::Program { program: "redis-server", error });
                }
                return Err(not_up(format!("it ended with {status}")));
            }
            if let Ok(mut wire) = super::transport::connect(&address, |_| {}).await
                && wire.beat().await
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(not_up(format!("no answer within {} s", START_PATIENCE.as_secs())))
    }
}

/// Locks the directory for us and our server, and writes who we are into the lock.
async fn lock(dir: &Path) -> Result<File, PrivateRedisError> {
    let fault = |error| PrivateRedisError::Directory { dir: dir.display().to_string(), error };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))
        .map_err(fault)?;
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(fault(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let mut pid = String::new();
        file.rewind().and_then(|()| file.read_to_string(&mut pid)).map_err(fault)?;
        let pid = pid.trim().to_owned();
        // A service that is gone leaves the lock to its server for the moment that it needs to end; one that lives keeps it.
        if Path::new("/proc").join(&pid).exists() || started.elapsed() > LEAVE_PATIENCE {
            return Err(PrivateRedisError::InUse { dir: dir.display().to_string(), pid });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(fault)?;
    Ok(file)
}

/// Where the socket goes: beside the data, or, where that path is longer than the kernel allows, under the temporary directory in
/// a directory of its own that is only ours.
fn socket_path(dir: &Path) -> std::io::Result<PathBuf> {
    let beside = dir.join("redis.sock");
    if beside.as_os_str().len() <= SOCKET_PATH_BYTES {
        return Ok(beside);
    }
    let apart = std::env::temp_dir().join(format!("holdfast-{}", std::process::id()));
    std::fs::create_dir_all(&apart)?;
    std::fs::set_permissions(&apart, std::fs::Permissions::from_mode(0o700))?;
    Ok(apart.join("redis.sock"))
}
