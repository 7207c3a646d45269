//! The private Redis: a redis-server as our child process, for a service that is one process and nothing else.
//!
//! The server ends with us, even when we are killed: `setpriv --pdeathsig` asks the kernel for that, without unsafe code here. The signal
//! follows the thread that started the child, so [`PrivateRedis::start`] is called on the main thread, which lives as long as the process.
//! The data directory is locked by a file that the child inherits as its standard input: the lock lasts until both processes have ended, so
//! a new service never starts a second server over files that the old one is still writing. A server that ends by itself is started again.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::redis::{Address, transport};

/// Timeout of the start, in which the server loads its data.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of the stop, in which the server writes its last bytes; also of the server of a service that was killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before a server that ended is started again; twice as long after each start that fails, up to 30 s.
const RESTART_DELAY: Duration = Duration::from_millis(200);
const MAX_RESTART_DELAY: Duration = Duration::from_secs(30);
/// Greatest length of a unix socket's path, by the kernel's bound of 108 bytes with the closing NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Name of the socket's file.
const SOCKET: &str = "redis.sock";

/// Why the private Redis did not start.
#[derive(Debug, thiserror::Error)]
pub enum PrivateRedisError {
    /// Another Holdfast runs over the directory.
    #[error("{dir} is in use by process {pid}; stop that one, or give this one another HOLDFAST_DATA_DIR")]
    InUse {
        /// The data directory.
        dir: String,
        /// The process that holds its lock.
        pid: String,
    },
    /// The directory cannot be used.
    #[error("{dir} cannot be used as HOLDFAST_DATA_DIR: {error}")]
    Directory {
        /// The data directory.
        dir: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// A program is missing.
    #[error(
        "{program} cannot be started ({error}); install it (Debian: apt-get install redis-server util-linux), or set HOLDFAST_REDIS_URL to use another Redis"
    )]
    Program {
        /// The missing program.
        program: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
    /// The server ended, or did not answer in time.
    #[error("the private redis-server did not come up ({what}); its log is {log}")]
    NotUp {
        /// Its exit status, or the timeout.
        what: String,
        /// The path of its log.
        log: String,
    },
}

/// A running private Redis. Dropping it kills the server; [`PrivateRedis::run_until`] lets it write its data first.
#[derive(Debug)]
pub struct PrivateRedis {
    child: Child,
    /// Directory of its files.
    files: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    lock: File,
}

impl PrivateRedis {
    /// Locks the directory, starts a server over the files in it, and waits until it answers.
    ///
    /// # Errors
    /// As [`PrivateRedisError`] says; each message names the remedy.
    pub async fn start(dir: &Path) -> Result<Self, PrivateRedisError> {
        let fault = |error| PrivateRedisError::Directory { dir: dir.display().to_string(), error };
        std::fs::create_dir_all(dir).map_err(fault)?;
        let dir = dir.canonicalize().map_err(fault)?;
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).map_err(fault)?;
        let lock = lock(&dir).await?;
        let files = dir.join("redis");
        std::fs::create_dir_all(&files).map_err(fault)?;
        let socket = socket_path(&dir).map_err(fault)?;
        let log = dir.join("redis.log");
        let child = spawn(&files, &socket, &log, &lock)?;
        let mut redis = Self { child, files, socket, log, lock };
        redis.wait_ready().await?;
        Ok(redis)
    }

    /// Keeps a server running until `end` is cancelled, and stops it then. One that ends by itself, as when the system kills it for its memory, is
    /// started again over the same files.
    pub async fn run_until(mut self, end: CancellationToken) {
        let mut delay = RESTART_DELAY;
        loop {
            tokio::select! {
                () = end.cancelled() => return self.stop().await,
                status = self.child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    tracing::error!(status, log = %self.log.display(), "the private redis-server has ended; starting it again");
                }
            }
            let restarted = async {
                loop {
                    tokio::time::sleep(delay).await;
                    match self.restart().await {
                        Ok(()) => return,
                        Err(error) => tracing::error!(%error, "the private redis-server does not start; trying again"),
                    }
                    delay = (delay * 2).min(MAX_RESTART_DELAY);
                }
            };
            tokio::select! {
                () = end.cancelled() => return self.stop().await,
                () = restarted => delay = RESTART_DELAY,
            }
        }
    }

    async fn restart(&mut self) -> Result<(), PrivateRedisError> {
        self.child = spawn(&self.files, &self.socket, &self.log, &self.lock)?;
        self.wait_ready().await
    }

    /// The URL of its unix socket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// Stops the server after it has written its data.
    pub async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await;
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("the private redis-server did not stop in time; killing it");
        }
        let _ = std::fs::remove_file(&self.socket);
        // A directory of the socket alone; that of the data has more in it, and stays.
        let _ = self.socket.parent().map(std::fs::remove_dir);
    }

    /// Waits until the server answers, has ended, or [`START_TIMEOUT`] is over.
    async fn wait_ready(&mut self) -> Result<(), PrivateRedisError> {
        let log = self.log.display().to_string();
        let not_up = |what: String| PrivateRedisError::NotUp { what, log: log.clone() };
        let address = Address::parse(&self.url()).map_err(|error| not_up(error.to_string()))?;
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if let Ok(Some(status)) = self.child.try_wait() {
                // setpriv's exit status for a program that it does not find.
                if status.code() == Some(127) {
                    let error = std::io::Error::new(std::io::ErrorKind::NotFound, "not found");
                    return Err(PrivateRedisError::Program { program: "redis-server", error });
                }
                return Err(not_up(format!("it ended with {status}")));
            }
            if let Ok(mut connection) = transport::connect(&address, |_| {}).await
                && connection.ping().await
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(not_up(format!("no answer within {} s", START_TIMEOUT.as_secs())))
    }
}

/// Starts a server. The socket of one that was killed goes first: it would keep the new one from listening.
fn spawn(files: &Path, socket: &Path, log: &Path, lock: &File) -> Result<Child, PrivateRedisError> {
    let fault = |error| PrivateRedisError::Directory { dir: files.display().to_string(), error };
    let _ = std::fs::remove_file(socket);
    Command::new("setpriv")
        // Our settings hold secrets, and whoever may look at the server would see them.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .args(["--pdeathsig", "TERM", "redis-server", "--port", "0", "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
        .args(["--maxmemory-policy", "noeviction", "--unixsocketperm", "700"])
        .arg("--unixsocket")
        .arg(socket)
        .arg("--dir")
        .arg(files)
        .arg("--logfile")
        .arg(log)
        .stdin(lock.try_clone().map_err(fault)?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0) // a Ctrl-C at the terminal is for us: the server stays until we have drained
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| PrivateRedisError::Program { program: "setpriv", error })
}

/// Locks the directory for us and our server, and writes our process id into the lock file.
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
        // A service that was killed leaves the lock to its server, which ends in a moment; a running one keeps it.
        if Path::new("/proc").join(&pid).exists() || started.elapsed() > STOP_TIMEOUT {
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

/// The path of the socket: beside the data, or, where that path is too long for the kernel, in a new directory under the temporary directory,
/// which only our user can enter: one that is there already may be somebody else's.
fn socket_path(dir: &Path) -> std::io::Result<PathBuf> {
    let beside = dir.join(SOCKET);
    if beside.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        return Ok(beside);
    }
    let note = dir.join("socket-directory");
    if let Ok(before) = std::fs::read_to_string(&note) {
        // Left by a service that was killed. Only an empty directory goes; what cannot be removed harms nobody.
        let _ = std::fs::remove_file(Path::new(&before).join(SOCKET));
        let _ = std::fs::remove_dir(&before);
    }
    let apart = std::env::temp_dir().join(format!("holdfast-{}", uuid::Uuid::new_v4().simple()));
    std::fs::DirBuilder::new().mode(0o700).create(&apart)?;
    std::fs::write(&note, apart.to_string_lossy().as_bytes())?;
    Ok(apart.join(SOCKET))
}
