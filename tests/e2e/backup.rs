//! `farebox backup` and `farebox restore`: a backup beside traffic is clean, has all that was acknowledged before it, and is
//! served on another machine as if nothing had happened; one that is not whole, or not what it was, is refused by name. And
//! PostgreSQL's own means do the same.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    client::{Admin, Api, Customer, answer},
    fake_openai::FakeOpenAi,
    postgres,
    server::{Database, Options, Server},
    temporary,
    test_ledger::TestLedger,
};

const CHAT: &str = "/v1/chat/completions";

/// A folder that is removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Self(temporary(name));
        fs::create_dir_all(&folder.0).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command of the binary, with a SQLite ledger in a folder and no other settings.
fn farebox(folder: &Path, arguments: &[&str]) -> Output {
    fs::create_dir_all(folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FAREBOX_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// What it printed; it ended with this status.
#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn chat(stream: bool) -> Value {
    json!({"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "Say hello"}]})
}

/// Customers who ask for answers and buy credits until they are told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    /// The requests and purchases that were answered to their end.
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    fn of(customers: &[Customer]) -> Self {
        let (stop, acknowledged) = (Arc::default(), Arc::default());
        let run = |customer: &Customer| {
            tokio::spawn(ask_and_buy(customer.api.clone(), Arc::clone(&stop), Arc::clone(&acknowledged)))
        };
        let tasks = customers.iter().map(run).collect();
        Self { stop, acknowledged, tasks }
    }

    fn acknowledged(&self) -> BTreeSet<String> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Waits until so many more have been answered.
    async fn more(&self, count: usize) {
        let until = self.acknowledged().len() + count;
        while self.acknowledged().len() < until {
            assert!(!self.tasks.iter().any(tokio::task::JoinHandle::is_finished), "a customer was refused");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn ask_and_buy(api: Api, stop: Arc<AtomicBool>, acknowledged: Arc<Mutex<BTreeSet<String>>>) {
    let buy = json!({"amount": "5", "payment_method": "pm_card_visa"});
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = if turn % 8 == 7 {
            let bought = api.post("/v1/credits/purchase", &buy).await.ok();
            bought["payment"]["id"].as_str().unwrap().to_owned()
        } else {
            let answered = api.post(CHAT, &chat(turn % 2 == 0)).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            answered.header("x-request-id").unwrap().to_owned()
        };
        acknowledged.lock().unwrap().insert(id);
    }
}

/// The requests and the succeeded purchases in a ledger's tables.
fn recorded(database: &Path) -> BTreeSet<String> {
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT request_id FROM usage_record UNION ALL SELECT id FROM payment WHERE status = 'succeeded'";
    let mut statement = connection.prepare(sql).unwrap();
    let ids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    ids.map(|id| uuid::Uuid::from_slice(&id.unwrap()).unwrap().to_string()).collect()
}

async fn balances(server: &Server, customers: &[Customer]) -> Vec<Value> {
    let mut balances = Vec::new();
    for customer in customers {
        balances.push(server.api(&customer.key).get("/v1/balance").await.ok()["available"].clone());
    }
    balances
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_traffic_has_all_that_was_acknowledged_before_it() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().on(Database::Sqlite).calling(fake.url())).await;
    let mut customers = Vec::new();
    for _ in 0..4 {
        customers.push(server.admin().customer("payg", "5").await);
    }
    let folder = Folder::new("backups");
    let traffic = Traffic::of(&customers);
    for turn in 0..3 {
        traffic.more(40).await;
        let before = traffic.acknowledged();
        let (backup, machine) = (folder.path(&format!("backup-{turn}")), folder.path(&format!("machine-{turn}")));
        let output = tokio::task::block_in_place(|| server.cli(&["backup", text(&backup)]));
        let during = traffic.acknowledged().len() - before.len();
        let told = said(&output, 0);
        assert!(told.starts_with("clean: ") && told.contains("4 accounts"), "{told}");
        assert!(during > 0, "the backup waited for nobody, and nobody for it");
        for entry in fs::read_dir(&backup).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
        // The copy's tables may lack what its log has: restoring brings it in.
        let told = said(&farebox(&machine, &["restore", text(&backup)]), 0);
        assert!(told.starts_with("clean: "), "{told}");
        let restored = recorded(&machine.join("data/farebox.db"));
        let lost: Vec<_> = before.difference(&restored).collect();
        assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), before.len());
        assert!(said(&farebox(&machine, &["audit"]), 0).starts_with("clean: "));
    }
    traffic.end().await;
    assert_eq!(server.get("/readyz").await.status, 200, "{}", server.logs());
    assert!(!server.logs().contains("ERROR") && !server.logs().contains("damaged"), "{}", server.logs());

    // As it was, and then it goes on.
    let (backup, machine) = (folder.path("last"), folder.path("machine"));
    let told = said(&server.cli(&["backup", text(&backup), "--json"]), 0);
    let told: Value = serde_json::from_str(&told).unwrap();
    let expected = balances(&server, &customers).await;
    let restored = said(&farebox(&machine, &["restore", text(&backup), "--json"]), 0);
    assert_eq!(serde_json::from_str::<Value>(&restored).unwrap()["log"], told["log"]);
    let url = format!("sqlite://{}", machine.join("data/farebox.db").display());
    let second = Server::start(Options::default().on(Database::At(url)).calling(fake.url())).await;
    assert_eq!(balances(&second, &customers).await, expected);
    for customer in &customers {
        assert_eq!(second.api(&customer.key).post(CHAT, &chat(true)).await.status, 200);
    }
    second.admin().assert_audit().await;
}

/// Serves a folder with an operator's token of its own, in its file.
async fn with_own_token(folder: &Path, fake: &FakeOpenAi) -> (Server, String) {
    let url = format!("sqlite://{}", folder.join("data/farebox.db").display());
    let options = Options::default().on(Database::At(url)).calling(fake.url()).unset("FAREBOX_ADMIN_TOKEN");
    let server = Server::start(options.set("FAREBOX_DATA_DIR", text(&folder.join("data")))).await;
    let token = fs::read_to_string(folder.join("data/admin_token")).unwrap();
    (server, token)
}

#[tokio::test]
async fn answers_that_are_kept_for_retries_are_restored_with_the_token_that_opens_them() {
    let (fake, folder) = (FakeOpenAi::start(), Folder::new("kept"));
    let (first, second, backup) = (folder.path("first"), folder.path("second"), folder.path("backup"));
    let (server, token) = with_own_token(&first, &fake).await;
    let customer = Admin(server.api(&token)).customer("payg", "5").await;
    let ask = async |server: &Server| {
        let request = server.api(&customer.key).request(Method::POST, CHAT);
        answer(request.header("idempotency-key", "once").json(&chat(false))).await
    };
    let kept = ask(&server).await;
    assert_eq!(kept.status, 200, "{}", kept.body);
    while ask(&server).await.header("idempotency-replayed").is_none() {}
    let told = said(&farebox(&first, &["backup", text(&backup)]), 0);
    assert!(told.contains("with the operator's token"), "{told}");
    drop(server);
    let told = said(&farebox(&second, &["restore", text(&backup)]), 0);
    assert!(told.contains("with the operator's token"), "{told}");
    let (server, restored) = with_own_token(&second, &fake).await;
    assert_eq!(restored, token);
    let again = ask(&server).await;
    assert_eq!((again.header("idempotency-replayed"), &again.body), (Some("true"), &kept.body));

    // Another token that is there already is not overwritten, and what that means is said.
    let third = folder.path("third");
    fs::create_dir_all(third.join("data")).unwrap();
    fs::write(third.join("data/admin_token"), "another").unwrap();
    let told = said(&farebox(&third, &["restore", text(&backup)]), 0);
    assert!(told.contains("there is another one"), "{told}");
    assert_eq!(fs::read_to_string(third.join("data/admin_token")).unwrap(), "another");
}

/// What is done to a backup.
type Harm = fn(&Path, &Path);

/// Changes a copied database, past what keeps it append-only.
fn change(backup: &Path, name: &str, sql: &str) {
    let connection = rusqlite::Connection::open(backup.join(name)).unwrap();
    for verb in ["UPDATE", "DELETE"] {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS log_no_{verb}")).unwrap();
    }
    assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
}

/// A harm to a backup, beside another ledger's backup; the status of restoring it, and what is said.
const HARMS: [(Harm, i32, &str); 11] = [
    (|backup, _| fs::remove_file(backup.join("farebox-log.db")).unwrap(), 2, "farebox-log.db is not there"),
    (|backup, _| fs::remove_file(backup.join("farebox.db")).unwrap(), 2, "farebox.db is not there"),
    (|backup, _| fs::remove_file(backup.join("backup.json")).unwrap(), 2, "is no complete backup: backup.json"),
    (|backup, _| fs::write(backup.join("backup.json"), "{").unwrap(), 2, "backup.json is damaged"),
    (|backup, _| fs::write(backup.join("backup.json"), r#"{"format": 99}"#).unwrap(), 2, "by a newer version"),
    (
        |backup, _| change(backup, "farebox-log.db", "UPDATE log SET at = at + 1 WHERE seq = 2"),
        1,
        "log is not whole: the log's row 2 was changed",
    ),
    (|backup, _| change(backup, "farebox-log.db", "DELETE FROM log WHERE seq = 2"), 1, "row 3 follows row 1"),
    (
        |backup, _| change(backup, "farebox-log.db", "DELETE FROM log WHERE seq = (SELECT MAX(seq) FROM log)"),
        2,
        "the log is older than its tables",
    ),
    (
        |backup, other| {
            fs::copy(other.join("farebox-log.db"), backup.join("farebox-log.db")).unwrap();
        },
        2,
        "made from another log",
    ),
    (
        |backup, _| change(backup, "farebox.db", "UPDATE shard_lease SET owner = 'mine'"),
        2,
        "farebox.db was changed after it was backed up",
    ),
    (
        |backup, _| {
            fs::write(backup.join("farebox.db"), &fs::read(backup.join("farebox.db")).unwrap()[..8192]).unwrap();
        },
        2,
        "can't be restored",
    ),
];

/// A stopped ledger of one customer, and its backup.
async fn backed_up(folder: &Folder, name: &str, grants: usize) -> PathBuf {
    let ledger = folder.path(&format!("{name}-ledger"));
    fs::create_dir_all(&ledger).unwrap();
    let url = format!("sqlite://{}", ledger.join("data/farebox.db").display());
    let mut server = Server::start(Options::default().on(Database::At(url))).await;
    let customer = server.admin().customer("payg", "2").await;
    for _ in 0..grants {
        server.admin().grant(&customer.id, "promo", "1").await;
    }
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.logs());
    let backup = folder.path(name);
    said(&farebox(&ledger, &["backup", text(&backup)]), 0);
    backup
}

#[tokio::test]
async fn a_backup_that_is_not_whole_or_not_what_it_was_is_refused_by_name() {
    let folder = Folder::new("harmed");
    let (backup, other) = (backed_up(&folder, "backup", 3).await, backed_up(&folder, "other", 5).await);
    for (place, (harm, status, told)) in HARMS.into_iter().enumerate() {
        let (harmed, machine) = (folder.path(&format!("harmed-{place}")), folder.path(&format!("machine-{place}")));
        fs::create_dir_all(&harmed).unwrap();
        for entry in fs::read_dir(&backup).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, harmed.join(path.file_name().unwrap())).unwrap();
        }
        harm(&harmed, &other);
        let found = said(&farebox(&machine, &["restore", text(&harmed)]), status);
        assert!(found.contains(told), "{told} is not in\n{found}");
        assert!(status != 1 || found.contains("NOT clean") && found.contains("nothing was restored"), "{found}");
        let left: Vec<_> =
            fs::read_dir(machine.join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "farebox.db.lock"), "{left:?}");
    }
}

#[tokio::test]
async fn a_backup_that_is_killed_is_complete_or_none() {
    let folder = Folder::new("killed");
    backed_up(&folder, "backup", 2).await;
    let (mut complete, mut cut) = (0, 0);
    for turn in 0..12 {
        let (backup, machine) = (folder.path(&format!("backup-{turn}")), folder.path(&format!("machine-{turn}")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.args(["backup", text(&backup)]).current_dir(folder.path("backup-ledger")).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        // A moment that comes closer to the end with each turn: files appear one after the other.
        while fs::read_dir(&backup).map_or(0, Iterator::count) < turn / 2 && child.try_wait().unwrap().is_none() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let output = farebox(&machine, &["restore", text(&backup)]);
        if backup.join("backup.json").exists() {
            assert!(said(&output, 0).starts_with("clean: "));
            complete += 1;
        } else {
            assert!(said(&output, 2).contains("is no complete backup"));
            cut += 1;
        }
    }
    assert!(complete > 0 && cut > 0, "{complete} complete, {cut} cut off");
}

#[tokio::test]
async fn nothing_that_is_there_is_overwritten() {
    let folder = Folder::new("there");
    let (backup, machine) = (backed_up(&folder, "backup", 1).await, folder.path("machine"));
    // A backup goes to an empty folder only.
    let ledger = folder.path("backup-ledger");
    let kept = fs::read(backup.join("farebox.db")).unwrap();
    let found = said(&farebox(&ledger, &["backup", text(&backup)]), 2);
    assert!(found.contains("is not empty (backup.json, farebox-log.db, farebox.db)"), "{found}");
    assert_eq!(fs::read(backup.join("farebox.db")).unwrap(), kept);
    let cut = folder.path("cut");
    fs::create_dir_all(&cut).unwrap();
    said(&farebox(&ledger, &["backup", text(&cut)]), 0);
    fs::rename(cut.join("backup.json"), cut.join("backup.json.part")).unwrap();
    let found = said(&farebox(&ledger, &["backup", text(&cut)]), 2);
    assert!(found.contains("A backup was cut off there"), "{found}");
    let found = said(&farebox(&machine, &["restore", text(&cut)]), 2);
    assert!(found.contains("is no complete backup"), "{found}");
    let nowhere = folder.path("nowhere");
    let found = said(&farebox(&folder.path("empty"), &["backup", text(&nowhere)]), 2);
    assert!(found.contains("no ledger") && !nowhere.exists(), "{found}");

    // A process owns the place, though it has no files.
    fs::create_dir_all(machine.join("data")).unwrap();
    let lock = fs::File::create(machine.join("data/farebox.db.lock")).unwrap();
    lock.lock().unwrap();
    let found = said(&farebox(&machine, &["restore", text(&backup)]), 2);
    assert!(found.contains("owns this ledger"), "{found}");
    drop(lock);

    // A ledger, or the part of one that a restore that was cut off left.
    said(&farebox(&machine, &["restore", text(&backup)]), 0);
    for lost in [None, Some("farebox.db"), Some("farebox-log.db")] {
        if let Some(lost) = lost {
            fs::rename(machine.join("data").join(lost), folder.path("lost")).unwrap();
        }
        let found = said(&farebox(&machine, &["restore", text(&backup)]), 2);
        let named = if lost == Some("farebox.db") { "farebox-log.db" } else { "farebox.db" };
        assert!(found.contains("there is a ledger") && found.contains(named), "{found}");
        if let Some(lost) = lost {
            fs::rename(folder.path("lost"), machine.join("data").join(lost)).unwrap();
        }
    }
    // A ledger that is gone is brought back, whatever signs of it remain.
    for lost in ["farebox.db", "farebox-log.db"] {
        fs::remove_file(machine.join("data").join(lost)).unwrap();
    }
    said(&farebox(&machine, &["restore", text(&backup)]), 0);
    assert!(said(&farebox(&machine, &["audit"]), 0).contains("clean: 1 accounts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_backed_up_by_its_own_means() {
    let (Some(ledger), Some(copy)) = (TestLedger::postgres(), TestLedger::postgres()) else { return };
    let (fake, folder) = (FakeOpenAi::start(), Folder::new("dumped"));
    let server = Server::start(ledger.options().calling(fake.url())).await;
    let customers = [server.admin().customer("payg", "5").await, server.admin().customer("payg", "5").await];
    for command in ["backup", "restore"] {
        let found = said(&server.cli(&[command, text(&folder.path("backup"))]), 2);
        assert!(
            found.contains("PostgreSQL") && found.contains("pg_dump") && found.contains("farebox audit"),
            "{found}"
        );
    }
    let traffic = Traffic::of(&customers);
    traffic.more(30).await;
    let (before, file) = (traffic.acknowledged(), folder.path("dump.sql"));
    tokio::task::block_in_place(|| postgres::dump(&ledger.url(), &file).unwrap());
    traffic.end().await;
    copy.run_file(&file);
    let found = said(&farebox(&folder.path("machine"), &["--database-url", &copy.url(), "audit"]), 0);
    assert!(found.contains("clean: 2 accounts"), "{found}");
    let second = Server::start(copy.options().calling(fake.url())).await;
    let mut restored = 0;
    for customer in &customers {
        let api = second.api(&customer.key);
        assert_eq!(api.post(CHAT, &chat(true)).await.status, 200);
        let count = |answer: Value| answer["data"].as_array().unwrap().len();
        restored += count(api.get("/v1/requests?limit=100").await.ok()) - 1;
        restored += count(api.get("/v1/payments?limit=100").await.ok());
    }
    assert!(restored >= before.len(), "{restored} of {} are there", before.len());
    second.admin().assert_audit().await;
}
