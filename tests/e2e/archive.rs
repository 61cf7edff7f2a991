//! `farebox archive`: the log's older rows go to files, a signed checkpoint stays, and everything goes on from there. What was
//! falsified of the archive, of the checkpoint or of the rows after it is found; and whatever kills it, nothing is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{client::Customer, fake_openai::FakeOpenAi, server::Server, temporary, test_ledger::TestLedger};

/// The checks that are tested here.
pub(crate) const COVERED: [&str; 3] = [
    "log's checkpoint is not what was signed",
    "balances at the log's checkpoint are not what was signed",
    "log's archive is not whole",
];

const CHAT: &str = "/v1/chat/completions";

struct Stage {
    ledger: TestLedger,
    server: Server,
    customers: Vec<Customer>,
    archive: PathBuf,
    _fake: FakeOpenAi,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.archive);
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

impl Stage {
    async fn on(ledger: TestLedger) -> Self {
        let fake = FakeOpenAi::start();
        let server = Server::start(ledger.options().calling(fake.url())).await;
        let mut customers = Vec::new();
        for _ in 0..2 {
            customers.push(server.admin().customer("payg", "5").await);
        }
        Self { ledger, server, customers, archive: temporary("archive"), _fake: fake }
    }

    /// So many requests of a customer; the path of the last one's receipt.
    async fn chats(&self, customer: usize, count: usize) -> String {
        let api = self.server.api(&self.customers[customer].key);
        let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]});
        let mut path = String::new();
        for _ in 0..count {
            let answered = api.post(CHAT, &body).await;
            assert_eq!(answered.status, 200, "{}", answered.body);
            path = format!("/v1/requests/{}/receipt", answered.header("x-request-id").unwrap());
        }
        path
    }

    fn archive(&self, more: &[&str]) -> (Option<i32>, String) {
        let mut arguments = vec!["archive", self.archive.to_str().unwrap()];
        arguments.extend(more);
        told(&self.server.cli(&arguments))
    }

    #[track_caller]
    fn assert_clean(&self) {
        let whole = ["audit", "--archive", self.archive.to_str().unwrap()];
        for arguments in [&whole[..1], &whole] {
            let (status, said) = told(&self.server.cli(arguments));
            assert!(status == Some(0) && !said.contains("not looked at"), "{arguments:?}: {said}");
        }
        let (status, said) = told(&self.server.cli(&["rebuild", "--archive", self.archive.to_str().unwrap()]));
        assert_eq!(status, Some(0), "{said}");
    }

    async fn stop(&mut self) {
        assert!(self.server.stop().await.success());
    }

    /// A number that a query of the log answers.
    fn of_log(&self, sql: &str) -> i64 {
        match &self.ledger {
            TestLedger::Sqlite(folder) => {
                let log = rusqlite::Connection::open(folder.join("ledger-log.db")).unwrap();
                log.query_row(sql, [], |row| row.get(0)).unwrap()
            }
            TestLedger::Postgres(_) => self.ledger.number(sql),
        }
    }

    fn try_on_log(&self, sql: &str) -> Result<(), String> {
        match &self.ledger {
            TestLedger::Sqlite(folder) => {
                let log = rusqlite::Connection::open(folder.join("ledger-log.db")).unwrap();
                log.execute_batch(sql).map_err(|error| error.to_string())
            }
            TestLedger::Postgres(_) => self.ledger.try_run(sql),
        }
    }

    async fn receipt(&self, path: &str) -> Value {
        self.server.api(&self.customers[0].key).get(path).await.ok()
    }
}

async fn rows_go_and_everything_goes_on(ledger: TestLedger) {
    let mut stage = Stage::on(ledger).await;
    let old = stage.chats(0, 3).await;
    stage.chats(1, 2).await;
    let (status, said) = stage.archive(&[]);
    assert!(status == Some(1) && said.contains("the log still has them"), "{said}");
    let rows = stage.of_log("SELECT COUNT(*) FROM log");
    stage.assert_clean();
    stage.chats(0, 1).await;
    let before = stage.receipt(&old).await;
    stage.stop().await;
    for sql in ["DELETE FROM log", "DELETE FROM log WHERE seq = 1", "UPDATE log SET at = 1"] {
        let refused = stage.try_on_log(sql).unwrap_err();
        assert!(refused.contains("log is append-only"), "{sql}: {refused}");
    }
    let (status, said) = stage.archive(&["--keep-days", "3"]);
    assert!(status == Some(0) && said.contains("0 rows added") && said.contains("as before"), "{said}");
    let (status, said) = stage.archive(&[]);
    assert!(status == Some(0) && said.contains("left the log"), "{said}");
    // Of each shard one row stays: the one at which its log begins.
    let shards = stage.of_log("SELECT COUNT(*) FROM shard_lease");
    let begins_at = stage.of_log("SELECT CAST(SUM(seq) AS BIGINT) FROM log");
    assert_eq!(stage.of_log("SELECT COUNT(*) FROM log"), shards);
    assert!(begins_at > rows - shards, "{begins_at}, {rows}");
    let checkpoints = stage.of_log("SELECT COUNT(*) FROM log_checkpoint");
    stage.assert_clean();
    for sql in ["DELETE FROM log", "UPDATE log_checkpoint SET jws = ''", "DELETE FROM log_checkpoint"] {
        let refused = stage.try_on_log(sql).unwrap_err();
        assert!(refused.contains("is append-only"), "{sql}: {refused}");
    }

    stage.server.restart().await;
    stage.chats(0, 2).await;
    stage.server.admin().assert_audit().await;
    assert_eq!(stage.receipt(&old).await, before, "a receipt is the same whether its row is in the log or not");
    let file = stage.server.folder().join("old.jws");
    fs::write(&file, before["jws"].as_str().unwrap()).unwrap();
    let mut verify = vec!["receipt", "verify", file.to_str().unwrap(), "--log"];
    let (status, said) = told(&stage.server.cli(&verify));
    assert!(status == Some(1) && said.contains("name that with --archive"), "{said}");
    verify.extend(["--archive", stage.archive.to_str().unwrap()]);
    let (status, said) = told(&stage.server.cli(&verify));
    assert!(status == Some(0) && said.contains("the ledger says the same"), "{said}");
    stage.assert_clean();

    // The same folder takes what came since; another one can't say how it was before.
    stage.stop().await;
    let (status, said) = stage.archive(&[]);
    assert!(status == Some(0) && said.contains("left the log"), "{said}");
    assert!(stage.of_log("SELECT CAST(SUM(seq) AS BIGINT) FROM log") > begins_at);
    assert!(stage.of_log("SELECT COUNT(*) FROM log_checkpoint") > checkpoints);
    stage.assert_clean();
    let kept = std::mem::replace(&mut stage.archive, temporary("archive"));
    stage.server.restart().await;
    stage.chats(1, 1).await;
    stage.stop().await;
    let (status, said) = stage.archive(&[]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = told(&stage.server.cli(&["audit", "--archive", stage.archive.to_str().unwrap()]));
    let is_told = said.contains("log's archive is not whole: ") && said.contains("it begins at row");
    assert!(status == Some(1) && is_told, "{said}");
    let other = std::mem::replace(&mut stage.archive, kept);
    let (status, said) = stage.archive(&[]);
    assert!(status != Some(0) && said.contains("use the archive that has the rows between"), "{said}");
    fs::remove_dir_all(other).unwrap();
    stage.server.restart().await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn rows_go_to_an_archive_and_everything_goes_on() {
    rows_go_and_everything_goes_on(TestLedger::sqlite()).await;
}

#[tokio::test]
async fn rows_of_postgres_go_to_an_archive_too() {
    if let Some(ledger) = TestLedger::postgres() {
        rows_go_and_everything_goes_on(ledger).await;
    }
}

/// A folder with a ledger's files, its archive and its keys.
struct Copy(PathBuf);

impl Copy {
    fn of(stage: &Stage) -> Self {
        let copy = Self(temporary("archived"));
        let TestLedger::Sqlite(ledger) = &stage.ledger else { panic!("files") };
        fs::create_dir_all(&copy.0).unwrap();
        for (from, to) in [(ledger, ""), (&stage.archive, "archive"), (&stage.server.folder().join("data"), "data")] {
            fs::create_dir_all(copy.0.join(to)).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    fs::copy(entry.path(), copy.0.join(to).join(entry.file_name())).unwrap();
                }
            }
        }
        copy
    }

    fn run(&self, file: &str, sql: &str) {
        let connection = rusqlite::Connection::open(self.0.join(file)).unwrap();
        for trigger in ["log_no_UPDATE", "log_no_DELETE", "log_checkpoint_no_UPDATE", "log_checkpoint_no_DELETE"] {
            connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {trigger}")).unwrap();
        }
        connection.execute_batch(sql).unwrap();
    }

    /// The files of the archive with rows.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("archive")).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
        files.sort();
        files
    }

    fn audit(&self, more: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.arg("audit").args(more).current_dir(&self.0).env("FAREBOX_DATABASE__URL", "sqlite://ledger.db");
        told(&command.output().unwrap())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a copy is falsified.
type Falsify = Box<dyn Fn(&Copy)>;

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn what_is_falsified_where_the_log_begins_is_found() {
    let mut stage = Stage::on(TestLedger::sqlite()).await;
    stage.chats(0, 3).await;
    stage.stop().await;
    assert_eq!(stage.archive(&[]).0, Some(0));
    stage.server.restart().await;
    stage.chats(1, 3).await;
    stage.stop().await;
    assert_eq!(stage.archive(&["--keep-days", "1"]).0, Some(0));
    let [signed, balances, archive] = COVERED;
    let begin = stage.of_log("SELECT MIN(seq) FROM log");
    let in_log = |sql: String| move |copy: &Copy| copy.run("ledger-log.db", &sql);
    let in_tables = |sql: &'static str| move |copy: &Copy| copy.run("ledger.db", sql);
    let cases: Vec<(&str, &str, Falsify)> = vec![
        (archive, "was changed after it was written", Box::new(|copy| flip(&copy.files()[0]))),
        (archive, "can't read", Box::new(|copy| fs::remove_file(&copy.files()[0]).unwrap())),
        (
            archive,
            "archive.json is damaged",
            Box::new(|copy| fs::write(copy.0.join("archive/archive.json"), "{}").unwrap()),
        ),
        (
            signed,
            "its signature is wrong",
            Box::new(in_log("UPDATE log_checkpoint SET jws = substr(jws, 1, length(jws) - 40) || CASE substr(jws, -40, 1) WHEN 'A' \
                 THEN 'B' ELSE 'A' END || substr(jws, -39)".into())),
        ),
        (
            signed,
            "something else was signed",
            Box::new(in_log(
                "UPDATE log_checkpoint SET content = replace(content, '\"accounts\":', '\"accounts\": ')".into(),
            )),
        ),
        (
            signed,
            "it is of row",
            Box::new(in_log(format!(
                "UPDATE log_checkpoint SET hash = (SELECT hash FROM log WHERE seq = {begin} + 1)"
            ))),
        ),
        (
            balances,
            "expected ",
            Box::new(in_tables("UPDATE credit_grant SET available = available - 1, spent = spent + 1")),
        ),
        ("log is not whole", "row", Box::new(in_log(format!("DELETE FROM log WHERE seq = {begin} + 1")))),
        ("log is not whole", "row", Box::new(in_log(format!("DELETE FROM log WHERE seq = {begin}")))),
        ("log is not whole", "row", Box::new(in_log("DELETE FROM log_checkpoint".into()))),
        (
            "log is not whole",
            "was changed",
            Box::new(in_log(format!("UPDATE log SET at = at + 1 WHERE seq = {begin}"))),
        ),
    ];
    let whole = ["--archive", "archive"];
    let copy = Copy::of(&stage);
    for arguments in [&[][..], &whole] {
        let (status, said) = copy.audit(arguments);
        assert_eq!(status, Some(0), "{said}");
    }
    for (check, why, falsify) in cases {
        let copy = Copy::of(&stage);
        falsify(&copy);
        let arguments = if check == archive { &whole[..] } else { &[] };
        let (status, said) = copy.audit(arguments);
        let begins = format!("invariant 19: {check}: ");
        let found = said.lines().any(|line| line.starts_with(&begins) && line.contains(why));
        assert!(status == Some(1) && found, "{begins}...{why} is not in\n{said}");
    }
    // A key that never signed here.
    let copy = Copy::of(&stage);
    fs::write(copy.0.join("other.json"), r#"{"keys": []}"#).unwrap();
    let (status, said) = copy.audit(&["--keys", "other.json"]);
    assert!(status == Some(1) && said.contains("none of the 0 keys"), "{said}");
}

#[tokio::test]
async fn rows_of_the_last_days_stay_and_the_balances_before_them_are_signed() {
    let mut stage = Stage::on(TestLedger::usual()).await;
    stage.chats(0, 3).await;
    let first = stage.of_log("SELECT COUNT(*) FROM log");
    // By the test clock, so that what follows is later than any time that this machine knows.
    stage.server.admin().advance(5 * 86_400).await;
    stage.chats(1, 3).await;
    let body = json!({"amount": "10", "payment_method": "pm_card_visa"});
    stage.server.api(&stage.customers[0].key).post("/v1/credits/purchase", &body).await.ok();
    stage.stop().await;
    let rows = stage.of_log("SELECT COUNT(*) FROM log");
    let (status, said) = stage.archive(&["--keep-days", "0", "--json"]);
    assert_eq!(status, Some(0), "{said}");
    let told: Value = serde_json::from_str(&said).unwrap();
    let begins_at: i64 = told["logs"].as_array().unwrap().iter().map(|log| log["begins_at"].as_i64().unwrap()).sum();
    assert!(begins_at < first + 3 && begins_at > 3, "{said}");
    assert_eq!(stage.of_log("SELECT COUNT(*) FROM log"), rows - begins_at);
    stage.assert_clean();
    // Fewer days, and then more: what stays is what the newest run says, and nothing comes back.
    let (status, said) = stage.archive(&[]);
    assert!(status == Some(0) && said.contains("left the log"), "{said}");
    let (status, said) = stage.archive(&["--keep-days", "30"]);
    assert!(status == Some(0) && said.contains("as before"), "{said}");
    stage.assert_clean();
    stage.server.restart().await;
    stage.server.admin().assert_audit().await;
}

#[tokio::test]
async fn no_row_goes_whose_file_is_not_what_was_written() {
    let mut stage = Stage::on(TestLedger::sqlite()).await;
    stage.chats(0, 2).await;
    assert_eq!(stage.archive(&[]).0, Some(1));
    stage.stop().await;
    let rows = stage.of_log("SELECT COUNT(*) FROM log");
    let file = fs::read_dir(&stage.archive).unwrap().map(|entry| entry.unwrap().path());
    flip(&file.into_iter().find(|path| path.extension().is_some_and(|end| end == "zst")).unwrap());
    let (status, said) = stage.archive(&[]);
    assert!(status != Some(0) && said.contains("was changed after it was written"), "{said}");
    assert_eq!(stage.of_log("SELECT COUNT(*) FROM log"), rows);
    let (status, said) = told(&stage.server.cli(&["archive", "data"]));
    assert!(status != Some(0) && said.contains("is no archive, and not empty"), "{said}");
}

#[tokio::test]
async fn an_archive_that_is_killed_loses_nothing_and_goes_on() {
    let mut stage = Stage::on(TestLedger::sqlite()).await;
    for turn in 0..8_u64 {
        stage.chats(0, 2).await;
        stage.stop().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.arg("archive").arg(&stage.archive).current_dir(stage.server.folder());
        command.env("FAREBOX_DATABASE__URL", stage.ledger.url()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(20 * turn)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let (status, said) = told(&stage.server.cli(&["audit"]));
        assert_eq!(status, Some(0), "{said}");
        stage.server.restart().await;
    }
    stage.stop().await;
    let (status, said) = stage.archive(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(stage.of_log("SELECT COUNT(*) FROM log"), 1);
    stage.assert_clean();
}

#[tokio::test]
async fn a_ledger_whose_log_begins_at_a_checkpoint_is_backed_up_and_restored() {
    let mut stage = Stage::on(TestLedger::sqlite()).await;
    stage.chats(0, 2).await;
    stage.stop().await;
    assert_eq!(stage.archive(&[]).0, Some(0));
    stage.server.restart().await;
    stage.chats(0, 2).await;
    let folder = temporary("backup");
    let (status, said) = told(&stage.server.cli(&["backup", folder.to_str().unwrap()]));
    assert_eq!(status, Some(0), "{said}");
    let place = temporary("restored");
    fs::create_dir_all(&place).unwrap();
    let farebox = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command.args(arguments).current_dir(&place);
        told(&command.output().unwrap())
    };
    let (status, said) = farebox(&["restore", folder.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = farebox(&["audit", "--archive", stage.archive.to_str().unwrap()]);
    assert!(status == Some(0) && said.contains("the log begins at a checkpoint"), "{said}");
    assert!(!said.contains("not looked at"), "the keys came with the backup: {said}");
    // A checkpoint that was changed in the backup is not restored.
    let log = rusqlite::Connection::open(folder.join("farebox-log.db")).unwrap();
    log.execute_batch("DROP TRIGGER log_checkpoint_no_UPDATE; UPDATE log_checkpoint SET content = content || ' '")
        .unwrap();
    log.close().unwrap();
    fs::remove_dir_all(&place).unwrap();
    fs::create_dir_all(&place).unwrap();
    let (status, said) = farebox(&["restore", folder.to_str().unwrap()]);
    assert!(status == Some(1) && said.contains("something else was signed"), "{said}");
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_dir_all(&place).unwrap();
}

#[tokio::test]
async fn the_archive_of_another_ledger_makes_no_tables() {
    for of in [Some(TestLedger::sqlite()), TestLedger::postgres()].into_iter().flatten() {
        let (mut stage, mut other) = (Stage::on(of).await, Stage::on(TestLedger::sqlite()).await);
        for stage in [&mut stage, &mut other] {
            stage.chats(0, 2).await;
            stage.stop().await;
            assert_eq!(stage.archive(&[]).0, Some(0));
        }
        stage.assert_clean();
        for more in [&[][..], &["--replace"]] {
            let arguments = [&["rebuild", "--archive", other.archive.to_str().unwrap()], more].concat();
            let (status, said) = told(&stage.server.cli(&arguments));
            assert!(status == Some(2) && said.contains("the archive is another ledger's"), "{said}");
        }
        stage.assert_clean();
    }
}
