//! `holdfast run` on a real terminal, under a real shell.

use std::{
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use nix::pty::{Winsize, openpty};

use crate::{
    cli::{Cli, with_default_signals},
    support::world::{World, eventually},
};

/// An interactive bash that controls a terminal of its own.
struct Shell {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    shell: Child,
}

impl Shell {
    fn start(cli: &Cli) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let mut command: Command = with_default_signals("setsid");
        cli.environment(&mut command);
        let end = |slave: &OwnedFd| slave.try_clone().unwrap();
        command
            .args(["--ctty", "bash", "--norc", "--noprofile", "-i"])
            .env("PS1", "$ ")
            .env("TERM", "xterm")
            .env_remove("PROMPT_COMMAND")
            .stdin(end(&pty.slave))
            .stdout(end(&pty.slave))
            .stderr(end(&pty.slave));
        let shell = command.spawn().unwrap();
        drop((command, pty.slave));
        let keyboard = File::from(pty.master);
        let screen = crate::support::world::collect(keyboard.try_clone().unwrap());
        let shell = Self { keyboard, screen, shell };
        shell.shows("$ ");
        shell
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Forgets what is on the screen, and types a line.
    fn enters(&mut self, line: &str) {
        self.screen.lock().unwrap().clear();
        self.types(line);
        self.types("\n");
    }

    /// Waits until the screen shows this, what was typed left out.
    fn shows(&self, text: &str) {
        eventually(&format!("{text:?} is on the screen: {:?}", self.screen()), || self.screen().contains(text));
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the screen:\n{}", self.screen());
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[tokio::test]
async fn an_interactive_command_has_the_terminal() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- sh -c 'echo as''ks; read line; echo \"got: $line\"'; echo \"code: $?\"");
    shell.shows("asks");
    shell.types("hello\n");
    shell.shows("got: hello");
    shell.shows("code: 0");
    // And the shell has it back.
    shell.enters("echo mine: $((6 * 7))");
    shell.shows("mine: 42");
}

#[tokio::test]
async fn the_interrupt_key_ends_the_command_and_the_name_is_given_back() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- sh -c 'echo run''ning; exec sleep 60'");
    shell.shows("running");
    shell.types("\x03");
    shell.shows("$ ");
    shell.enters("echo \"code: $?\"");
    shell.shows("code: 130");
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn the_stop_key_stops_the_job_and_fg_continues_it() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- sh -c 'echo run''ning; read line; echo \"got: $line\"'");
    shell.shows("running");
    shell.types("\x1a");
    shell.shows("Stopped");
    shell.enters("jobs");
    shell.shows("Stopped");
    shell.enters("fg");
    shell.shows("holdfast run x");
    // The command reads only once its reservation has proved to be held still.
    shell.types("again\n");
    shell.shows("got: again");
    assert!(cli.held().is_empty());
}

#[tokio::test]
async fn a_job_that_is_stopped_for_too_long_is_ended() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x --ttl 2s -- sh -c 'echo run''ning; exec sleep 60'");
    shell.shows("running");
    shell.types("\x1a");
    shell.shows("Stopped");
    eventually("the name is free", || cli.held().is_empty());
    shell.enters("fg");
    shell.shows("renewed in time");
    shell.enters("echo \"code: $?\"");
    shell.shows("code: 79");
}

#[tokio::test]
async fn a_command_in_the_background_gets_the_terminal_when_its_job_comes_to_the_foreground() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- sh -c 'read line; echo \"got: $line\"' &");
    // A job of the background is stopped when it reads.
    shell.shows("stopped: unless");
    shell.enters("fg");
    shell.types("later\n");
    shell.shows("got: later");
}

#[tokio::test]
async fn a_pipeline_keeps_the_terminal_and_the_command_gets_it_when_it_asks() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- sh -c 'read line; echo \"got: $line\"' | tr a-z A-Z");
    shell.types("loud\n");
    shell.shows("GOT: LOUD");
    shell.enters("holdfast run x -- sleep 60 | cat; echo \"codes: ${PIPESTATUS[@]}\"");
    eventually("it is held", || cli.held() == ["x"]);
    shell.types("\x03");
    shell.shows("$ ");
    eventually("it is given back", || cli.held().is_empty());
}

#[tokio::test]
async fn a_terminal_that_closes_ends_the_command() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x --ttl 10m -- sleep 600");
    eventually("it is held", || cli.held() == ["x"]);
    shell.shell.kill().unwrap();
    drop(shell);
    eventually("the name is free", || cli.held().is_empty());
}

#[tokio::test]
async fn who_waits_sees_who_holds_it_on_one_line() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let at = world.at(&tenant);
    let held = at.acquire("ali\u{1b}ce", "x", Some(600)).await;
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast run x -- echo mi''ne");
    shell.shows("held by ali\\u{1b}ce, until");
    shell.shows("place 1");
    shell.shows("waited 2s");
    assert!(!shell.screen().contains("\u{1b}ce"), "a name cannot write to the terminal: {:?}", shell.screen());
    at.unreserve("ali\u{1b}ce", "x", &held["releaseToken"]).await;
    shell.shows("mine");
}

#[tokio::test]
async fn colours_are_for_terminals_that_want_them() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters("holdfast check x; echo do''ne");
    shell.shows("done");
    assert!(shell.screen().contains("\u{1b}[32mfree"), "{:?}", shell.screen());
    shell.enters("NO_COLOR=1 holdfast check x; echo do''ne");
    shell.shows("done");
    assert!(!shell.screen().contains("\u{1b}[32m"), "{:?}", shell.screen());
    assert!(!cli.run(&["check", "x"]).out.contains('\u{1b}'));
}

#[tokio::test]
async fn a_table_fits_the_terminal() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    world.at(&tenant).acquire(&"holder".repeat(20), &"name".repeat(20), Some(600)).await;
    let mut shell = Shell::start(&cli);
    shell.enters("stty cols 80; holdfast list; echo do''ne");
    shell.shows("done");
    let screen = shell.screen();
    let row = screen.lines().find(|line| line.starts_with("namename")).unwrap();
    assert!(row.trim_end().chars().count() <= 80 && row.contains('…'), "{row:?}");
}

#[tokio::test]
async fn deleting_asks_on_a_terminal() {
    let world = World::<1>::start().await;
    let tenant = world.tenant().await;
    let cli = Cli::new(&world.replicas[0], &tenant);
    let mut shell = Shell::start(&cli);
    shell.enters(&format!("HOLDFAST_REDIS_URL={} HOLDFAST_LOG=error holdfast tenant delete test", world.redis.url()));
    shell.shows("[y/N]");
    shell.types("n\n");
    shell.shows("nothing was changed");
    cli.run(&["list"]).succeeds();
}
