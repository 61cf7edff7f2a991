//! `farebox audit`: clean after traffic, purchases and a crash; for each of its checks, what it says and exits with once the
//! file was falsified past the gateway; what it does where there is no ledger; and the tables that refuse to be falsified.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use billing::Nanos;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    client::answer,
    fake_openai::{Behaviour, FakeOpenAi},
    people::person,
    server::Server,
    temporary,
    test_ledger::TestLedger,
    with,
};

const APPEND_ONLY: [&str; 5] = ["journal", "usage_record", "request_attempt", "price_version", "batch"];

/// How a check's rule is broken, and what must be said of it.
struct Case {
    invariant: u8,
    check: &'static str,
    /// Finds the row that is falsified: its id, and an amount.
    row: &'static str,
    /// `{id}` is the row's.
    falsify: &'static str,
    /// `{0}`, `{+}` and `{-}` are the amount and one nano-dollar beside it, with `#` numbers instead.
    told: &'static str,
}

const fn case(
    invariant: u8,
    check: &'static str,
    row: &'static str,
    falsify: &'static str,
    told: &'static str,
) -> Case {
    Case { invariant, check, row, falsify, told }
}

const PURCHASE: &str = "SELECT id, funded FROM credit_grant WHERE source = 'purchase'";
const CHARGED: &str = "SELECT request_id, charged FROM usage_record WHERE charged > 0";
const OPEN: &str =
    "SELECT h.request_id, SUM(j.d_held) FROM hold h JOIN journal j ON j.request_id = h.request_id GROUP BY 1";
const ACCOUNT: &str = "SELECT id, charged FROM account";
const WINDOW: &str =
    "SELECT account_id, reload_reserved + reload_settled + scale_reserved + scale_settled FROM spend_window";
const HOLDING: &str = "SELECT id, held FROM credit_grant WHERE held > 0";

const CASES: &[Case] = &[
    case(
        6,
        "attempt before a request's last was charged too",
        "SELECT request_id, charged FROM request_attempt",
        "UPDATE request_attempt SET charged = charged + 1 WHERE request_id = {id}",
        "charged expected 0.00, found {+}",
    ),
    case(
        15,
        "attempt before a request's last was not charged what its record says",
        "SELECT attempt_id, charged FROM request_attempt",
        "UPDATE request_attempt SET charged = charged + 1 WHERE attempt_id = {id}",
        "charged expected {0}, found {+}",
    ),
    case(
        1,
        "grant does not add up",
        PURCHASE,
        "UPDATE credit_grant SET available = available + 1 WHERE id = {id}",
        "sum expected {0}, found {+}",
    ),
    case(
        1,
        "grant has an amount below zero",
        PURCHASE,
        "UPDATE credit_grant SET available = available + voided + 1, voided = -1 WHERE id = {id}",
        "voided expected 0.00, found -0.000000001",
    ),
    case(
        2,
        "grant differs from its journal",
        PURCHASE,
        "UPDATE credit_grant SET available = available + 1, funded = funded + 1 WHERE id = {id}",
        "funded expected {0}, found {+}, available expected ",
    ),
    case(
        2,
        "journal names a grant that is not there",
        PURCHASE,
        "DELETE FROM credit_grant WHERE id = {id}",
        "funded expected {0}, found none",
    ),
    case(
        2,
        "account's debt differs from its journal",
        "SELECT id, debt FROM account",
        "UPDATE account SET debt = debt + 1 WHERE id = {id}",
        "debt expected {0}, found {+}",
    ),
    case(
        3,
        "grant had expired at its account's last change and is still available",
        "SELECT id, available FROM credit_grant WHERE available > 0",
        "UPDATE credit_grant SET created_at = 0, expires_at = 1 WHERE id = {id}",
        "available expected 0.00, found {0}",
    ),
    case(
        4,
        "grant's held credits are not what open holds were allocated",
        HOLDING,
        "UPDATE credit_grant SET held = held + 1, available = available - 1 WHERE id = {id}",
        "held expected {0}, found {+}",
    ),
    case(
        4,
        "grant's held credits are not what open holds were allocated",
        HOLDING,
        "UPDATE credit_grant SET available = available + held, held = 0 WHERE id = {id}",
        "held expected {0}, found 0.00",
    ),
    case(
        5,
        "account's spent credits and debt are not what it was charged",
        ACCOUNT,
        "UPDATE account SET charged = charged + 1 WHERE id = {id}",
        "spent and debt expected {+}, found {0}",
    ),
    case(
        5,
        "account's charges differ from its usage records",
        ACCOUNT,
        "UPDATE account SET charged = charged + 1 WHERE id = {id}",
        "charged expected {0}, found {+}",
    ),
    case(
        6,
        "request's journal differs from its charge",
        CHARGED,
        "UPDATE usage_record SET charged = charged + 1 WHERE request_id = {id}",
        "charged expected {0}, found {+}",
    ),
    case(
        6,
        "request has a line of the journal twice",
        CHARGED,
        "INSERT INTO journal SELECT account_id, seq + 1000, line, at, batch_id, epoch, kind, grant_id, request_id, 0, 0, \
         0, 0, 0, 0, 0 FROM journal WHERE request_id = {id} AND kind = 'hold_placed'",
        "lines expected 1, found 2",
    ),
    case(
        8,
        "recorded request never had a hold",
        CHARGED,
        "UPDATE journal SET kind = 'hold_grown' WHERE request_id = {id} AND kind = 'hold_placed'",
        "holds placed expected 1, found 0",
    ),
    case(
        10,
        "hold ended without a record",
        CHARGED,
        "DELETE FROM usage_record WHERE request_id = {id}",
        "records expected 1, found 0",
    ),
    case(
        10,
        "open hold is not in the journal",
        OPEN,
        "UPDATE journal SET kind = 'hold_grown' WHERE request_id = {id} AND kind = 'hold_placed'",
        "holds placed expected 1, found 0",
    ),
    case(
        10,
        "recorded request still has an open hold",
        CHARGED,
        "UPDATE hold SET request_id = {id}",
        "open holds expected 0, found 1",
    ),
    case(
        10,
        "ended request still holds credits in the journal",
        OPEN,
        "DELETE FROM hold WHERE request_id = {id}",
        "held expected 0.00, found {0}",
    ),
    case(
        11,
        "rows of a payment that is not there",
        "SELECT payment_id, amount FROM payment_reversal",
        "DELETE FROM payment WHERE id = {id}",
        "payments expected 1, found 0",
    ),
    case(
        13,
        "rows of an account that is not there",
        ACCOUNT,
        "UPDATE account SET id = zeroblob(16) WHERE id = {id}",
        "accounts expected 1, found 0",
    ),
    case(
        11,
        "purchased grant without its succeeded payment",
        PURCHASE,
        "UPDATE payment SET status = 'declined' WHERE purpose = 'purchase'",
        "paid expected {0}, found none",
    ),
    case(
        11,
        "succeeded payment without its grant",
        "SELECT id, amount FROM payment WHERE purpose = 'purchase'",
        "UPDATE credit_grant SET source_key = 'another' WHERE source = 'purchase'",
        "funded expected {0}, found none",
    ),
    case(
        11,
        "grant's paid dollars are not its payment's, less what was reversed",
        "SELECT id, paid FROM credit_grant WHERE source = 'purchase'",
        "UPDATE credit_grant SET paid = paid + 1 WHERE id = {id}",
        "paid expected {0}, found {+}",
    ),
    case(
        11,
        "payment's reversed dollars are not its refunds and disputes that stand",
        "SELECT id, reversed FROM payment WHERE reversed > 0",
        "UPDATE payment SET reversed = reversed + 1 WHERE id = {id}",
        "reversed expected {0}, found {+}",
    ),
    case(
        11,
        "payment's reversed dollars are not its refunds and disputes that stand",
        "SELECT id, reversed FROM payment WHERE reversed > 0",
        "UPDATE payment_reversal SET state = 'failed' WHERE payment_id = {id}",
        "reversed expected 0.00, found {0}",
    ),
    case(
        11,
        "payment has one refund or dispute of its processor's twice",
        "SELECT payment_id, amount FROM payment_reversal",
        "INSERT INTO payment_reversal SELECT payment_id, {id}, account_id, kind, reference, card, 0, state, created_at, \
         changed_at, left_ms FROM payment_reversal WHERE payment_id = {id}",
        "rows expected 1, found 2",
    ),
    case(
        11,
        "succeeded payment without its processor's name for it",
        "SELECT id, amount FROM payment WHERE purpose = 'purchase'",
        "UPDATE payment SET reference = NULL WHERE id = {id}",
        "names expected 1, found 0",
    ),
    case(
        11,
        "payment has another payment's charge",
        "SELECT id, amount FROM payment WHERE purpose = 'auto_reload'",
        "UPDATE payment SET reference = (SELECT reference FROM payment WHERE purpose = 'purchase') WHERE id = {id}",
        "payments of the charge expected 1, found 2",
    ),
    case(
        11,
        "account's plan is not paid until what its fees say",
        "SELECT id, subscribed_until FROM account",
        "UPDATE account SET subscribed_until = subscribed_until + 1 WHERE id = {id}",
        "paid until expected {#0}, found {#+}",
    ),
    case(
        11,
        "grant's expiry is not what its source and its beginning say",
        "SELECT id, expires_at FROM credit_grant WHERE source = 'purchase'",
        "UPDATE credit_grant SET expires_at = expires_at + 1 WHERE id = {id}",
        "expires at expected {#0}, found {#+}",
    ),
    case(
        11,
        "grant's expiry is not what its source and its beginning say",
        "SELECT id, expires_at FROM credit_grant WHERE source = 'plan'",
        "UPDATE credit_grant SET expires_at = expires_at - 1 WHERE id = {id}",
        "expires at expected {#0}, found {#-}",
    ),
    case(
        12,
        "account's auto-reloads of a month are not its payments'",
        "SELECT account_id, reload_settled FROM spend_window",
        "UPDATE spend_window SET reload_settled = reload_settled + 1 WHERE account_id = {id}",
        "settled expected {0}, found {+}",
    ),
    case(
        12,
        "account's auto-reloads of a month are not its payments'",
        "SELECT account_id, reload_settled FROM spend_window",
        "UPDATE spend_window SET reload_reserved = 5 WHERE account_id = {id}",
        "reserved expected 0.00, found 0.000000005",
    ),
    case(
        12,
        "account's auto-reloads of a month are not its payments'",
        "SELECT account_id, reload_settled FROM spend_window",
        "DELETE FROM spend_window WHERE account_id = {id}",
        "reserved and settled expected {0}, found 0.00",
    ),
    case(
        12,
        "account's autoScale purchases of a month are not its payments'",
        "SELECT account_id, scale_settled FROM spend_window",
        "UPDATE spend_window SET scale_settled = scale_settled + 1 WHERE account_id = {id}",
        "settled expected {0}, found {+}",
    ),
    case(
        12,
        "month's maximum of auto-reload is not what it was reserved within",
        "SELECT account_id, reload_max FROM spend_window",
        "UPDATE spend_window SET reload_max = reload_max + 1 WHERE account_id = {id}",
        "maximum expected {0}, found {+}",
    ),
    case(
        12,
        "month's maximum of automatic spending is not what it was reserved within",
        "SELECT account_id, spend_max FROM spend_window",
        "UPDATE spend_window SET spend_max = spend_max + 1 WHERE account_id = {id}",
        "maximum expected {0}, found {+}",
    ),
    case(
        17,
        "credits taken of a payment's grant are not what its refunds and disputes say",
        "SELECT id, taken_unused FROM credit_grant WHERE taken_unused > 0",
        "UPDATE credit_grant SET taken_unused = taken_unused - 1 WHERE id = {id}",
        "taken expected {0}, found {-}",
    ),
    case(
        12,
        "account's auto-reload is beyond its monthly maximum",
        WINDOW,
        "UPDATE spend_window SET reload_max = reload_reserved + reload_settled - 1 WHERE account_id = {id}",
        "reserved and settled expected at most {-}, found {0}",
    ),
    case(
        12,
        "account's automatic spending is beyond its monthly maximum",
        WINDOW,
        "UPDATE spend_window SET spend_max = reload_reserved + reload_settled - 1 WHERE account_id = {id}",
        "reserved and settled expected at most {-}, found {0}",
    ),
    case(
        13,
        "account's journal has a gap",
        "SELECT id, seq FROM account WHERE seq > 2",
        "DELETE FROM journal WHERE account_id = {id} AND seq = 2",
        "transitions expected {#0}, found {#-}",
    ),
    case(
        13,
        "an older owner wrote after a newer one in the account's journal",
        "SELECT account_id, epoch FROM journal WHERE seq = 2",
        "UPDATE journal SET epoch = epoch + 1 WHERE account_id = {id} AND seq = 1",
        "owner's epoch expected at least {#+}, found {#0}",
    ),
    case(
        13,
        "journal line without its batch",
        "SELECT batch_id, 0 FROM journal",
        "DELETE FROM batch WHERE id = {id}",
        "batches expected 1, found 0",
    ),
    case(
        15,
        "request's charge is not its exact cost, rounded once",
        CHARGED,
        "UPDATE usage_record SET charged = charged + 1 WHERE request_id = {id}",
        "charged expected {0}, found {+}",
    ),
    case(
        15,
        "request's charge is not its exact cost, rounded once",
        CHARGED,
        "UPDATE usage_record SET fee = 'much' WHERE request_id = {id}",
        "charged expected none, found {0}",
    ),
    case(
        15,
        "request's exact cost is not what its quantities come to",
        CHARGED,
        "UPDATE usage_record SET quantities = REPLACE(quantities, '@0.00000015', '@0.00000016') WHERE request_id = {id}",
        "base cost expected ",
    ),
    case(
        16,
        "request's quantities are not what its counts say",
        "SELECT request_id, input_tokens FROM usage_record WHERE charged > 0",
        "UPDATE usage_record SET input_tokens = input_tokens + 1 WHERE request_id = {id}",
        "input tokens expected {#+}, found {#0}",
    ),
    case(
        16,
        "request's quantities are not what its counts say",
        CHARGED,
        "UPDATE usage_record SET quantities = 'tokens' WHERE request_id = {id}",
        "\"tokens\" is no list of quantities",
    ),
    case(
        18,
        "key used more than its limits let it",
        "SELECT k.id, (SELECT SUM(charged) FROM usage_record u WHERE u.key_id = k.id) + (SELECT \
         COALESCE(SUM(MAX(worst_case, accrued)), 0) FROM hold h WHERE h.key_id = k.id) FROM api_key k",
        "UPDATE api_key SET limit_total = 1, beyond = 2 WHERE id = {id}",
        "total expected at most 0.000000003, found {0}",
    ),
    case(
        2,
        "usage summed by the hour differs from its records",
        "SELECT account_id, charged FROM usage_rollup WHERE span = 1 AND model = 'gpt-4o-mini'",
        "UPDATE usage_rollup SET charged = charged + 1 WHERE span = 1 AND account_id = {id} AND model = 'gpt-4o-mini'",
        "charged expected {0}, found {+}",
    ),
    case(
        2,
        "usage summed by the day differs from its hours",
        "SELECT account_id, requests FROM usage_rollup WHERE span = 24 AND model = 'gpt-4o-mini'",
        "UPDATE usage_rollup SET requests = requests + 1 WHERE span = 24 AND account_id = {id} AND model = 'gpt-4o-mini'",
        "requests expected {#0}, found {#+}",
    ),
    case(
        2,
        "usage of a session by the hour differs from its records",
        "SELECT account_id, charged FROM usage_session WHERE span = 1",
        "UPDATE usage_session SET charged = charged + 1 WHERE span = 1 AND account_id = {id}",
        "charged expected {0}, found {+}",
    ),
    case(
        2,
        "usage of a session by the day differs from its hours",
        "SELECT account_id, requests FROM usage_session WHERE span = 24",
        "UPDATE usage_session SET requests = requests + 1 WHERE span = 24 AND account_id = {id}",
        "requests expected {#0}, found {#+}",
    ),
    case(
        19,
        "account's row is not what the log says",
        ACCOUNT,
        "UPDATE account SET clock = clock + 1 WHERE id = {id}",
        "expected Header {",
    ),
    case(
        19,
        "grant's row is not what the log says",
        PURCHASE,
        "UPDATE credit_grant SET notices = notices + 1 WHERE id = {id}",
        "notices: 1",
    ),
    case(
        19,
        "open holds are not those of the log",
        OPEN,
        "DELETE FROM hold WHERE request_id = {id}",
        "it has not ended, and its hold is not there",
    ),
    case(
        19,
        "open holds are not those of the log",
        OPEN,
        "UPDATE hold SET worst_case = worst_case + 1 WHERE request_id = {id}",
        "expected Hold {",
    ),
    case(
        14,
        "request without a permit gave one back",
        OPEN,
        "UPDATE hold SET parked = 1 WHERE request_id = {id}",
        "parked expected 0, found 1",
    ),
    case(
        19,
        "account's rows can't be made from the log",
        ACCOUNT,
        "INSERT INTO projection_fault (account_id, shard, seq, at, why) VALUES ({id}, 0, 1, 0, 'a check said no')",
        "a check said no",
    ),
    case(
        19,
        "key is not what the log says",
        "SELECT id, 0 FROM api_key WHERE revoked_at IS NULL",
        "UPDATE api_key SET limit_day = 1 WHERE id = {id}",
        "it was changed",
    ),
    case(
        19,
        "revoked keys are not those of the log",
        "SELECT id, 0 FROM api_key WHERE revoked_at IS NOT NULL",
        "UPDATE api_key SET revoked_at = NULL WHERE id = {id}",
        "found none",
    ),
    case(
        19,
        "saved card is not what the log says",
        "SELECT id, 0 FROM payment_method",
        "DELETE FROM payment_method WHERE id = {id}",
        "it is not there",
    ),
    case(
        19,
        "webhook is not what the log says",
        "SELECT id, 0 FROM webhook_endpoint",
        "UPDATE webhook_endpoint SET secret = 'other' WHERE id = {id}",
        "it was changed",
    ),
    case(
        19,
        "members are not those of the log",
        "SELECT person_id, 0 FROM membership",
        "UPDATE membership SET role = 'reader' WHERE person_id = {id}",
        "role: Reader",
    ),
    case(
        19,
        "payment is not what the log says",
        "SELECT id, 0 FROM payment WHERE purpose = 'purchase'",
        "UPDATE payment SET reference = 'other' WHERE id = {id}",
        "reference: Some(\"other\")",
    ),
];

/// How the log is falsified, or the tables' place in it, and what must be said of it: check, file, statement, words.
const OF_THE_LOG: [(&str, &str, &str, &str); 6] = [
    ("log is not whole", LOG, "UPDATE log SET at = at + 1 WHERE seq = 2", "row 2 was changed"),
    ("log is not whole", LOG, "UPDATE log SET body = X'01' WHERE seq = 2", "row 2 was changed"),
    ("log is not whole", LOG, "UPDATE log SET body = X'FF00' WHERE seq = 2", "row 2 was changed"),
    ("log is not whole", LOG, "DELETE FROM log WHERE seq = 2", "row 3 follows row 1"),
    (
        "log is not whole",
        LOG,
        "UPDATE log SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 ELSE seq END; UPDATE log SET seq = -seq WHERE seq < 0",
        "row 2 was changed",
    ),
    (
        "tables are not at a row of this log",
        "ledger.db",
        "UPDATE projection SET seq = seq - 1",
        "has another one there",
    ),
];
const LOG: &str = "ledger-log.db";

fn audit(url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.arg("audit").env("FAREBOX_DATABASE__URL", url).current_dir(std::env::temp_dir()).output().unwrap()
}

/// Traffic, a purchase, a reload, a refund and a request that runs when the process is killed.
async fn a_life() -> TestLedger {
    let (fake, ledger) = (FakeOpenAi::start(), TestLedger::sqlite());
    let options = ledger.options().calling(fake.url()).set("FAREBOX_WEBHOOKS__ALLOW_PRIVATE", "true");
    let mut server = Server::start(options).await;
    let customer = server.admin().customer("payg", "5").await;
    let key = customer.api.post("/v1/keys", &json!({"name": "revoked"})).await.ok();
    let key = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    answer(customer.api.request(Method::DELETE, &key)).await.ok();
    person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    customer.api.post("/v1/payment-methods", &json!({"card": "pm_card_visa"})).await.ok();
    customer.api.post("/v1/webhooks", &json!({"url": "http://127.0.0.1:9/"})).await.ok();
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    let bought = customer.api.post("/v1/credits/purchase", &bought).await.ok();
    let reload = json!({"enabled": true, "threshold": "25", "amount": "10", "payment_method": "pm_card_visa"});
    answer(customer.api.request(Method::PUT, "/v1/auto-reload").json(&reload)).await.ok();
    let body = json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "Say hello"}]});
    for _ in 0..3 {
        assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 200);
    }
    let in_session = with(&body, &json!({"prompt_cache_key": "ses_1"}));
    assert_eq!(customer.api.post("/v1/chat/completions", &in_session).await.status, 200);
    fake.script(Behaviour::Status(503));
    let falls_back = with(&body, &json!({"model": "gpt-4o", "models": ["gpt-4o-mini"]}));
    assert_eq!(customer.api.post("/v1/chat/completions", &falls_back).await.status, 200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while customer.api.get("/v1/auto-reload").await.ok()["spent_this_month"] != "10.00" {
        assert!(Instant::now() < deadline, "nothing was reloaded\n{}", server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refund = format!("/admin/v1/payments/{}/refund", bought["payment"]["id"].as_str().unwrap());
    server.admin().0.post(&refund, &json!({"amount": "2", "reason": "test"})).await.ok();
    fake.script(Behaviour::Slow(500));
    let request = customer.api.request(Method::POST, "/v1/chat/completions").json(&body);
    assert!(request.send().await.unwrap().chunk().await.unwrap().is_some());
    // The tables are made a moment later.
    while ledger.number("SELECT COUNT(*) FROM hold") == 0 {
        assert!(Instant::now() < deadline, "{}", server.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill_nine();
    ledger
}

/// A copy of a ledger's two files, and a connection to one of them that may falsify everything.
fn copy(clean: &Path, file: &str) -> (PathBuf, rusqlite::Connection) {
    let folder = temporary("falsified");
    fs::create_dir_all(&folder).unwrap();
    for name in ["ledger.db", LOG] {
        fs::copy(clean.join(name), folder.join(name)).unwrap();
    }
    let connection = rusqlite::Connection::open(folder.join(file)).unwrap();
    let append_only: &[&str] = if file == LOG { &["log"] } else { &APPEND_ONLY };
    for table in append_only {
        for verb in ["UPDATE", "DELETE"] {
            connection.execute_batch(&format!("DROP TRIGGER {table}_no_{verb}")).unwrap();
        }
    }
    connection.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
    (folder, connection)
}

fn falsified(clean: &Path, case: &Case) -> (Output, String, String) {
    let (folder, connection) = copy(clean, "ledger.db");
    let row = format!("{} LIMIT 1", case.row);
    let (id, amount): (Vec<u8>, i64) = connection
        .query_row(&row, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap_or_else(|error| panic!("{row}: {error}"));
    let id = uuid::Uuid::from_slice(&id).unwrap();
    let changed = connection.execute(&case.falsify.replace("{id}", &format!("X'{}'", id.simple())), []).unwrap();
    assert!(changed > 0, "{}", case.falsify);
    connection.close().unwrap();
    let output = audit(&format!("sqlite://{}", folder.join("ledger.db").display()));
    fs::remove_dir_all(&folder).unwrap();
    let mut told = case.told.to_owned();
    for (sign, number) in [("0", amount), ("+", amount + 1), ("-", amount - 1)] {
        told = told.replace(&format!("{{{sign}}}"), &Nanos::new(number).to_string());
        told = told.replace(&format!("{{#{sign}}}"), &number.to_string());
    }
    (output, id.to_string(), told)
}

#[tokio::test]
async fn an_audit_is_clean_after_a_crash_and_tells_each_rule_that_is_broken() {
    let ledger = a_life().await;
    let output = audit(&ledger.url());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("clean: 1 accounts") && said.contains("6 requests, 1 open holds, 0 violations"), "{said}");
    for table in APPEND_ONLY {
        let column = if ["usage_record", "request_attempt"].contains(&table) { "charged" } else { "at" };
        for sql in [format!("UPDATE {table} SET {column} = 1"), format!("DELETE FROM {table}")] {
            let refused = ledger.try_run(&sql).unwrap_err();
            assert!(refused.contains("is append-only"), "{sql}: {refused}");
        }
    }

    // All in one file, to be copied.
    ledger.run("PRAGMA wal_checkpoint(TRUNCATE)");
    let TestLedger::Sqlite(folder) = &ledger else { panic!("a file") };
    let log = rusqlite::Connection::open(folder.join(LOG)).unwrap();
    for sql in ["UPDATE log SET at = 1", "DELETE FROM log"] {
        assert!(log.execute_batch(sql).unwrap_err().to_string().contains("is append-only"), "{sql}");
    }
    log.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(log);
    for (check, file, sql, told) in OF_THE_LOG {
        let (copied, connection) = copy(folder, file);
        connection.execute_batch(sql).unwrap();
        connection.close().unwrap();
        let output = audit(&format!("sqlite://{}", copied.join("ledger.db").display()));
        let said = String::from_utf8_lossy(&output.stdout);
        let begins = format!("invariant 19: {check}: ");
        let found = said.lines().any(|line| line.starts_with(&begins) && line.contains(told));
        assert!(found && output.status.code() == Some(1), "{sql}: {told} is not in\n{said}");
        fs::remove_dir_all(&copied).unwrap();
    }
    // A row that the tables do not have yet.
    let (copied, connection) = copy(folder, LOG);
    let sql = "SELECT MAX(seq) FROM log";
    let last: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    let sql = "SELECT hash FROM log WHERE seq = ?";
    let hash: Vec<u8> = connection.query_row(sql, [last - 1], |row| row.get(0)).unwrap();
    connection.execute("UPDATE log SET at = at + 1 WHERE seq = ?", [last]).unwrap();
    connection.close().unwrap();
    let tables = rusqlite::Connection::open(copied.join("ledger.db")).unwrap();
    tables.execute("UPDATE projection SET seq = ?, hash = ?", rusqlite::params![last - 1, hash]).unwrap();
    tables.close().unwrap();
    let output = audit(&format!("sqlite://{}", copied.join("ledger.db").display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("invariant 19: log is not whole: the log's row {last} was changed")), "{said}");
    assert!(said.contains(", 1 of the log's rows not in the tables yet"), "{said}");
    fs::remove_dir_all(&copied).unwrap();
    for case in CASES {
        let (output, id, told) = falsified(folder, case);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{}: {said}{}", case.check, String::from_utf8_lossy(&output.stderr));
        let begins = format!("invariant {}: {}: {id}: ", case.invariant, case.check);
        let found = said.lines().any(|line| line.starts_with(&begins) && line.contains(&told));
        assert!(found, "{begins}...{told} is not in\n{said}");
        assert!(said.contains("NOT clean"), "{said}");
    }
    let covered = CASES.iter().map(|case| case.check).chain(OF_THE_LOG.iter().map(|(check, ..)| *check));
    // What is said of a log whose older rows are in an archive has its cases there.
    let covered: BTreeSet<_> = covered.chain(crate::archive::COVERED).collect();
    assert_eq!(covered, ledger::audit::checks().collect(), "every check has its case");
}

#[test]
fn an_audit_of_nothing_says_so_and_makes_nothing() {
    let folder: PathBuf = temporary("nothing");
    fs::create_dir_all(&folder).unwrap();
    let output = audit(&format!("sqlite://{}/mistyped.db", folder.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("can't audit sqlite://") && said.contains("mistyped.db"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn postgres_tables_refuse_to_be_falsified_too() {
    let Some(ledger) = TestLedger::postgres() else { return };
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_farebox"));
    assert!(migrate.arg("migrate").env("FAREBOX_DATABASE__URL", ledger.url()).status().unwrap().success());
    for table in APPEND_ONLY {
        let column = if ["usage_record", "request_attempt"].contains(&table) { "charged" } else { "at" };
        for sql in
            [format!("UPDATE {table} SET {column} = 1"), format!("DELETE FROM {table}"), format!("TRUNCATE {table}")]
        {
            let refused = ledger.try_run(&sql).unwrap_err();
            assert!(refused.contains("is append-only"), "{sql}: {refused}");
        }
    }
    let clean = audit(&ledger.url());
    assert!(
        clean.status.success(),
        "{}{}",
        String::from_utf8_lossy(&clean.stdout),
        String::from_utf8_lossy(&clean.stderr)
    );
}
