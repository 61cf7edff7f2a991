//! A server beside the gateway, kept by a small shell that reads our orders from a pipe. When the pipe closes, because
//! the companion is dropped or because this process ended in whatever way, the shell stops the server and removes its
//! folder: nothing is left behind, and no test needs to tidy up.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::{find_program, temporary};

/// Arguments: the folder, the signal that stops the server, how to prepare the folder, then the server's command.
const KEEPER: &str = r#"
trap '' INT
folder=$1; signal=$2; prepare=$3; shift 3
mkdir -m 700 "$folder" && cd "$folder" || exit 1
start() { "$@" >>"$folder/log" 2>&1 </dev/null & pid=$!; }
halt() { kill -"${1:-$signal}" "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; }
if eval "$prepare" >>"$folder/log" 2>&1; then start "$@"; echo started; else echo failed; fi
while read -r order by; do
    case $order in
        stop) halt "$by"; echo stopped ;;
        start) start "$@"; echo started ;;
    esac
done
halt
cd / && rm -rf "$folder"
"#;

/// A running server and its keeper.
pub(crate) struct Companion {
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

/// Who a server runs as: PostgreSQL refuses to be root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Ourselves,
    NotRoot,
}

impl Companion {
    /// Starts `command` in a folder of its own, where `{folder}` stands for that folder.
    pub(crate) fn start(name: &str, who: As, signal: &str, prepare: &str, command: &[&str]) -> Self {
        let folder = temporary(name);
        let mut run = match not_root_prefix(who) {
            Some(mut prefix) => {
                prefix.arg("sh");
                prefix
            }
            None => Command::new("sh"),
        };
        let named = |text: &str| text.replace("{folder}", &folder.display().to_string());
        run.args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .arg(signal)
            .arg(named(prepare))
            .args(command.iter().map(|part| named(part)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut keeper = run.spawn().unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut companion = Self { keeper, orders, answers, folder };
        companion.expect_answer("started");
        companion
    }

    /// Stops the server; its folder stays.
    pub(crate) fn stop(&mut self) {
        self.order("stop");
        self.expect_answer("stopped");
    }

    /// Stops the server by another signal.
    pub(crate) fn stop_by(&mut self, signal: &str) {
        self.order(&format!("stop {signal}"));
        self.expect_answer("stopped");
    }

    /// Starts it again in the same folder.
    pub(crate) fn resume(&mut self) {
        self.order("start");
        self.expect_answer("started");
    }

    /// What the server has written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    fn expect_answer(&mut self, expected: &str) {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), expected, "{}: {}", self.folder.display(), self.log());
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.keeper.wait();
    }
}

/// For root, the command that drops to the `postgres` user, or to `nobody` where there is none.
fn not_root_prefix(who: As) -> Option<Command> {
    static USER: OnceLock<Option<String>> = OnceLock::new();
    let user = USER.get_or_init(|| {
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() != b"0" {
            return None;
        }
        let users = fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
        let exists = users.lines().any(|line| line.starts_with("postgres:"));
        Some(if exists { "postgres" } else { "nobody" }.to_owned())
    });
    let user = user.as_ref().filter(|_| who == As::NotRoot)?;
    let mut command;
    if let Some(setpriv) = find_program("setpriv", &[]) {
        command = Command::new(setpriv);
        command.arg(format!("--reuid={user}")).args(["--clear-groups", "--"]);
    } else {
        command = Command::new("runuser");
        command.args(["-u", user, "--"]);
    }
    Some(command)
}
