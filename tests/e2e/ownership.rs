//! One process owns a ledger: a second that is started beside it, with whatever port, folder or spelling, is refused and
//! changes nothing; a dead owner's ledger is taken without asking, a living one's only with `--take-over`. And a place whose
//! ledger is gone is not taken for a new one.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    postgres::{self, Postgres},
    server::{Database, Options, Server},
    temporary,
    test_ledger::TestLedger,
};

/// What is done to a database's file.
type Loss = fn(&Path);

/// How long a start that is to be refused may take.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

/// The binary in a folder, with these settings and no others.
fn farebox(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FAREBOX_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).env("FAREBOX_LISTEN", "127.0.0.1:0");
    command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends whatever still runs.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs it to its end, which must come by itself.
async fn output(mut command: Command) -> Output {
    let mut guard = Guard(Some(command.spawn().unwrap()));
    let began = Instant::now();
    while guard.0.as_mut().unwrap().try_wait().unwrap().is_none() {
        assert!(began.elapsed() < REFUSED_WITHIN, "it serves, and should have been refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    guard.0.take().unwrap().wait_with_output().unwrap()
}

/// What a command said that must fail.
async fn refusal(command: Command) -> String {
    let output = output(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    said
}

/// Its owner goes on as if nothing had happened: it commits, and has the same lease.
async fn assert_unharmed(server: &Server) {
    assert_eq!(server.get("/readyz").await.status, 200, "{}", server.logs());
    let customer = server.admin().customer("payg", "1").await;
    let balance = customer.api.get("/v1/balance").await.ok();
    assert_eq!(balance["debt"], "0.00", "{balance}");
    assert!(!server.logs().contains("taken this ledger over"), "{}", server.logs());
}

#[tokio::test]
async fn a_second_server_is_refused_whatever_its_port_folder_and_spelling() {
    let first = Server::start(Options::default().on(Database::Sqlite)).await;
    let (folder, other) = (first.folder().to_owned(), temporary("second"));
    fs::create_dir_all(&other).unwrap();
    let busy = first.url().trim_start_matches("http://").to_owned();
    let free = "127.0.0.1:0".to_owned();
    let file = folder.join("data/farebox.db");
    let link = other.join("linked.db");
    symlink(&file, &link).unwrap();
    symlink(&folder, other.join("folder")).unwrap();
    let of = |path: &Path| format!("sqlite://{}", path.display());
    let spellings = [
        of(&file),
        of(&file) + "?mode=rwc",
        of(&link),
        of(&other.join("folder/data/../data/farebox.db")),
        format!("sqlite:{}", file.display()),
    ];
    let own = first.id().to_string();
    // The same folder, another port.
    let said = refusal(farebox(&folder, &["serve"], &[("FAREBOX_LISTEN", &free)])).await;
    assert!(said.contains(&format!("process {own}")) && said.contains("--take-over"), "{said}");
    for url in &spellings {
        let variables = [("FAREBOX_LISTEN", free.as_str()), ("FAREBOX_DATABASE__URL", url.as_str())];
        let said = refusal(farebox(&other, &["serve"], &variables)).await;
        assert!(said.contains(&format!("process {own}")), "{url}: {said}");
        let said = refusal(farebox(&other, &["migrate"], &variables)).await;
        assert!(said.contains(&format!("process {own}")), "{url}: {said}");
    }
    // The same port: with the same ledger and with another, also where it is meant to be taken over.
    for arguments in [&["serve"][..], &["serve", "--take-over"]] {
        for url in [of(&file), of(&other.join("own.db"))] {
            let variables = [("FAREBOX_LISTEN", busy.as_str()), ("FAREBOX_DATABASE__URL", url.as_str())];
            let said = refusal(farebox(&other, arguments, &variables)).await;
            assert!(said.contains("can't listen on"), "{said}");
        }
    }
    assert!(!other.join("own.db").exists(), "nothing was made");
    // The lock says who it is, and is where anyone looks.
    let lock = fs::read_to_string(folder.join("data/farebox.db.lock")).unwrap();
    assert_eq!(lock.lines().next(), Some(own.as_str()), "{lock}");
    assert_unharmed(&first).await;
    fs::remove_dir_all(&other).unwrap();
}

#[tokio::test]
async fn a_database_with_a_second_name_has_the_same_owner() {
    let first = Server::start(Options::default().on(Database::Sqlite)).await;
    let other = temporary("second");
    fs::create_dir_all(&other).unwrap();
    fs::hard_link(first.folder().join("data/farebox.db"), other.join("farebox.db")).unwrap();
    let url = format!("sqlite://{}/farebox.db", other.display());
    let said = refusal(farebox(&other, &["serve"], &[("FAREBOX_DATABASE__URL", &url)])).await;
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    assert_unharmed(&first).await;
    fs::remove_dir_all(&other).unwrap();
}

/// A dead owner is taken over at once; a living one only by who means it, and that one stops.
async fn owners_follow_each_other(ledger: TestLedger) {
    let mut first = Server::start(ledger.options()).await;
    let customer = first.admin().customer("payg", "2").await;
    first.kill_nine();
    let mut second = Server::start(ledger.options()).await;
    assert_eq!(second.api(&customer.key).get("/v1/balance").await.ok()["available"], "7.00");
    let other = temporary("third");
    fs::create_dir_all(&other).unwrap();
    let url = ledger.url();
    let said = refusal(farebox(&other, &["serve"], &[("FAREBOX_DATABASE__URL", &url)])).await;
    assert!(said.contains(&format!("process {}", second.id())), "{said}");
    assert_unharmed(&second).await;
    let third = Server::start(ledger.options().with_argument("--take-over")).await;
    let ended = second.wait_for_end().await;
    assert!(!ended.success(), "{ended} {}", second.logs());
    second.says("taken this ledger over").await;
    assert_eq!(third.api(&customer.key).get("/v1/balance").await.ok()["available"], "7.00");
    assert_unharmed(&third).await;
    third.admin().assert_audit().await;
    // From then on it is the third's, like any other.
    let said = refusal(farebox(&other, &["serve"], &[("FAREBOX_DATABASE__URL", &url)])).await;
    assert!(said.contains(&format!("process {}", third.id())), "{said}");
    fs::remove_dir_all(&other).unwrap();
}

#[tokio::test]
async fn owners_of_a_file_follow_each_other() {
    owners_follow_each_other(TestLedger::sqlite()).await;
}

#[tokio::test]
async fn owners_of_a_postgres_database_follow_each_other() {
    let Some(ledger) = TestLedger::postgres() else { return };
    owners_follow_each_other(ledger).await;
}

#[tokio::test]
async fn a_postgres_owner_whose_session_was_ended_stays_the_owner() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let first = Server::start(ledger.options()).await;
    let other = temporary("second");
    fs::create_dir_all(&other).unwrap();
    let url = ledger.url();
    let sessions = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND pid <> pg_backend_pid()";
    postgres::query(&url, ended).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while postgres::query(&url, sessions).unwrap() != "1" {
        assert!(Instant::now() < deadline, "its session did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = refusal(farebox(&other, &["serve"], &[("FAREBOX_DATABASE__URL", &url)])).await;
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    assert_unharmed(&first).await;
    fs::remove_dir_all(&other).unwrap();
}

#[tokio::test]
async fn an_owner_outlives_a_restart_of_postgres() {
    let Some(mut own) = Postgres::start() else { return };
    let url = own.fresh_database();
    let first = Server::start(Options::default().on(Database::At(url.clone()))).await;
    let other = temporary("second");
    fs::create_dir_all(&other).unwrap();
    own.stop();
    own.resume();
    // Whoever comes first finds the lock free, and waits for an owner that may live.
    let said = refusal(farebox(&other, &["serve"], &[("FAREBOX_DATABASE__URL", &url)])).await;
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    assert_unharmed(&first).await;
    fs::remove_dir_all(&other).unwrap();
}

#[tokio::test]
async fn a_clean_stop_leaves_all_in_two_files_and_a_lost_file_is_missed() {
    let mut server = Server::start(Options::default().on(Database::Sqlite)).await;
    let customer = server.admin().customer("payg", "2").await;
    let ended = server.stop().await;
    assert_eq!(ended.code(), Some(0), "{}", server.logs());
    let (folder, copy) = (server.folder().to_owned(), temporary("copy"));
    fs::create_dir_all(copy.join("data")).unwrap();
    for file in ["farebox.db", "farebox-log.db"] {
        let ahead = folder.join(format!("data/{file}-wal"));
        assert_eq!(fs::metadata(&ahead).map_or(0, |found| found.len()), 0, "the write-ahead log of {file} is empty");
        // The two files alone are a whole backup.
        fs::copy(folder.join("data").join(file), copy.join("data").join(file)).unwrap();
    }
    let log = folder.join("data/farebox.db-wal");
    let audit = output(farebox(&copy, &["audit"], &[])).await;
    let said = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.status.success() && said.contains("clean: 1 accounts"), "{said}");
    let url = format!("sqlite://{}/data/farebox.db", copy.display());
    let restored = Server::start(Options::default().on(Database::At(url))).await;
    assert_eq!(restored.api(&customer.key).get("/v1/balance").await.ok()["available"], "7.00");
    drop(restored);

    // An empty file, or none, where a ledger was: whatever is left tells.
    let database = folder.join("data/farebox.db");
    let kept = fs::read(&database).unwrap();
    let losses: [(&str, Loss); 3] = [
        ("no file", |file| fs::remove_file(file).unwrap()),
        ("an empty file", |file| fs::write(file, "").unwrap()),
        ("a file without tables", |file| {
            fs::remove_file(file).unwrap();
            let empty = rusqlite::Connection::open(file).unwrap();
            empty.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
        }),
    ];
    for (what, lose) in losses {
        lose(&database);
        for arguments in [["serve"], ["migrate"]] {
            let said = refusal(farebox(&folder, &arguments, &[])).await;
            assert!(said.contains("farebox.db.lock") && said.contains("move these files away"), "{what}: {said}");
        }
        let said = refusal(farebox(&folder, &["audit"], &[])).await;
        assert!(said.contains("no ledger") && !said.contains("clean"), "{what}: {said}");
        let _ = fs::remove_file(&log);
    }
    fs::write(&database, kept).unwrap();

    // A log that is gone, that is another ledger's, or that is older than the tables.
    let of_log = folder.join("data/farebox-log.db");
    let kept = fs::read(&of_log).unwrap();
    let older = fs::read(copy.join("data/farebox-log.db")).unwrap();
    fs::remove_file(&of_log).unwrap();
    assert!(refusal(farebox(&folder, &["serve"], &[])).await.contains("is missing or empty"));
    let mut other = Server::start(Options::default().on(Database::Sqlite)).await;
    other.admin().customer("payg", "2").await;
    other.stop().await;
    fs::copy(other.folder().join("data/farebox-log.db"), &of_log).unwrap();
    assert!(refusal(farebox(&folder, &["serve"], &[])).await.contains("another log"));
    fs::write(&of_log, kept).unwrap();
    server.restart().await;
    assert_eq!(server.api(&customer.key).get("/v1/balance").await.ok()["available"], "7.00");
    server.admin().grant(&customer.id, "promo", "1").await;
    server.stop().await;
    fs::write(&of_log, older).unwrap();
    assert!(refusal(farebox(&folder, &["serve"], &[])).await.contains("the log is older than its tables"));
    fs::remove_dir_all(&copy).unwrap();
}

#[tokio::test]
async fn a_folder_with_only_a_token_or_a_log_is_a_used_one() {
    let folder = temporary("used");
    fs::create_dir_all(folder.join("data")).unwrap();
    for sign in ["admin_token", "quickstart.json", "farebox.db-wal", "farebox-log.db"] {
        let sign = folder.join("data").join(sign);
        fs::write(&sign, "something that was kept").unwrap();
        let said = refusal(farebox(&folder, &["serve"], &[])).await;
        assert!(said.contains(&*sign.file_name().unwrap().to_string_lossy()), "{said}");
        assert!(!folder.join("data/farebox.db").exists() && sign.exists(), "nothing was made or deleted");
        fs::remove_file(&sign).unwrap();
    }
    let said = refusal(farebox(&folder, &["audit", "--json"], &[])).await;
    assert!(said.contains("no ledger"), "{said}");
    let said = refusal(farebox(&folder, &["serve"], &[("FAREBOX_DATABASE__URL", "sqlite::memory:")])).await;
    assert!(said.contains("in memory"), "{said}");
    fs::remove_dir_all(&folder).unwrap();
}
