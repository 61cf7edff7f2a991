//! Pages of usage and history over many records: 200,000 as a test, 5 million with `FAREBOX_TEST_USAGE_ROWS=5000000` (and
//! `--release`, `--nocapture`) for figures. Times are printed and not asserted, as machines are shared; asserted is that
//! lists are whole, that sums are right, and, where the database counts them, that no table is read from end to end.

use std::{
    env,
    fmt::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use billing::{
    Timestamp,
    time::{DAY_MS, HOUR_MS},
};
use serde_json::{Value, json};

use crate::support::{
    client::{Api, Customer},
    server::Server,
    test_ledger::TestLedger,
};

const USUAL_ROWS: i64 = 200_000;
const YEAR: i64 = 365 * DAY_MS;
/// Of five records, four are of the account that is asked about; the others are of so many others.
const OTHERS: usize = 8;
const MODELS: usize = 8;
const KEYS: usize = 4;
/// One of so many records is of a model that is hardly used.
const RARE: i64 = 20_000;
/// One of so many requests names no session; so many that follow one another are of one, and some of them of other accounts.
const UNNAMED: i64 = 3;
const TOGETHER: i64 = 4;

struct Stage {
    server: Server,
    customer: Customer,
    keys: Vec<String>,
    ledger: TestLedger,
    rows: i64,
    /// Records are of the year from this hour on, up to the hour that is now.
    start: i64,
}

impl Stage {
    async fn set(ledger: TestLedger) -> Self {
        let rows = env::var("FAREBOX_TEST_USAGE_ROWS").map_or(USUAL_ROWS, |rows| rows.parse().unwrap());
        let server = Server::start(ledger.options()).await;
        let admin = server.admin();
        let customer = admin.customer("payg", "5").await;
        let mut keys = Vec::new();
        for key in 0..KEYS {
            let path = format!("/admin/v1/accounts/{}/keys", customer.id);
            let made = admin.0.post(&path, &json!({"name": format!("key {key}")})).await.ok();
            keys.push(made["id"].as_str().unwrap().to_owned());
        }
        let mut others = Vec::new();
        for _ in 0..OTHERS {
            others.push(admin.create_account("free").await);
        }
        // A read waits until the tables have all accounts.
        admin.0.get("/admin/v1/accounts").await.ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let start = Timestamp(i64::try_from(now).unwrap()).floor(HOUR_MS).0 - YEAR;
        let mut stage = Self { server, customer, keys, ledger, rows, start };
        stage.fill(&others);
        // The connection of before was closed meanwhile.
        stage.customer.api = stage.server.api(&stage.customer.key);
        stage
    }

    /// Records and their sums, made by the database itself.
    fn fill(&self, others: &[String]) {
        let Self { customer, keys, ledger, rows, start, .. } = self;
        let began = Instant::now();
        let case = |of: &str, values: &mut dyn Iterator<Item = String>| {
            values.enumerate().fold(format!("CASE {of}"), |mut sql, (place, value)| {
                write!(sql, " WHEN {place} THEN {value}").unwrap();
                sql
            }) + " END"
        };
        let other = case(&format!("i / 5 % {OTHERS}"), &mut others.iter().map(|id| ledger.id(id)));
        let key = case(&format!("i / 3 % {}", KEYS + 1), &mut keys.iter().map(|id| ledger.id(id)));
        let model = case(&format!("i / 7 % {MODELS}"), &mut (0..MODELS).map(|n| format!("'model-{n}'")));
        let id = match ledger {
            TestLedger::Sqlite(_) => "unhex(printf('%012x7%03x8%015x', at, i % 4096, i))",
            TestLedger::Postgres(_) => {
                "CAST(lpad(to_hex(at), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0') || '8' || lpad(to_hex(i), 15, '0') AS UUID)"
            }
        };
        let series = match ledger {
            TestLedger::Sqlite(_) => format!(
                "(WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1) SELECT i FROM n)"
            ),
            TestLedger::Postgres(_) => format!("(SELECT generate_series(0, CAST({rows} AS BIGINT) - 1) AS i)"),
        };
        ledger.run(&format!(
            "INSERT INTO usage_record (account_id, request_id, key_id, model, provider, ending, input_tokens, \
             cached_input_tokens, output_tokens, estimated, compute_ms, billed_seconds, base_cost, fee, charged, \
             price_version, started_at, ended_at, session) SELECT CASE WHEN i % 5 < 4 THEN {} ELSE {other} END, {id}, {key}, \
             CASE WHEN i % {RARE} = 0 THEN 'rare' ELSE {model} END, 'openai', \
             CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'completed' END, i % 1000, 0, i % 100, 0, 0, 0, '0.000001', '0.00000002', \
             1020, 1, at, at, CASE WHEN i % {UNNAMED} = 0 THEN NULL ELSE 'ses-' || (i / {TOGETHER}) END FROM (SELECT i, {start} + i * {YEAR} / {rows} AS at FROM {series} s) t",
            ledger.id(&customer.id),
        ));
        let filled = began.elapsed();
        for (table, session, of, seventh) in
            [("usage_rollup", "", "", ""), ("usage_session", "session, ", "WHERE session IS NOT NULL", ", 7")]
        {
            ledger.run(
            "INSERT INTO {table} (account_id, span, {session}starts_at, model, provider, key_id, requests, failed, input_tokens, \
             cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, charged) SELECT account_id, span, {session}\
             ended_at - ended_at % (span * 3600000), model, provider, COALESCE(key_id, nil), COUNT(*), \
             SUM(CASE WHEN ending = 'failed' THEN 1 ELSE 0 END), SUM(input_tokens), 0, 0, SUM(output_tokens), 0, 0, 0, SUM(charged) \
             FROM usage_record CROSS JOIN (SELECT 1 AS span UNION ALL SELECT 24) spans \
             CROSS JOIN (SELECT {nil} AS nil) n {of} GROUP BY 1, 2, 3, 4, 5, 6{seventh}"
                .replace("{table}", table)
                .replace("{session}", session)
                .replace("{of}", of)
                    .replace("{seventh}", seventh)
                .replace("{nil}", &ledger.id("00000000-0000-0000-0000-000000000000"))
                .as_str(),
        );
        }
        if let TestLedger::Postgres(_) = ledger {
            // As it does by itself, some time after so many rows were written.
            ledger.run("VACUUM ANALYZE");
            ledger.run("CHECKPOINT");
        }
        let sums = ledger.number("SELECT COUNT(*) FROM usage_rollup");
        if let TestLedger::Postgres(_) = ledger {
            // A connection counts what it read when it ends, which may be a moment after its client's end.
            let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                          AND application_name = 'psql' AND pid <> pg_backend_pid()";
            while ledger.number(others) > 0 {}
        }
        println!("{rows} records in {filled:.1?}, with their {sums} sums in {:.1?}", began.elapsed());
    }

    /// Reads up to so many pages of a list; its rows, with the time that each page took.
    async fn read(&self, path: &str, most: usize) -> (Vec<Value>, Vec<Duration>) {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        let mut cursor = String::new();
        while times.len() < most {
            let began = Instant::now();
            let page = page(&self.customer.api, &format!("{path}{cursor}")).await;
            times.push(began.elapsed());
            rows.extend(page["data"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        if times.len() == 1 {
            // One page alone says little: once more, some times.
            for _ in 0..9 {
                let began = Instant::now();
                page(&self.customer.api, path).await;
                times.push(began.elapsed());
            }
        }
        (rows, times)
    }

    /// Sequential scans of the large tables; PostgreSQL alone counts them. A year of days may be most of their table.
    fn table_scans(&self) -> i64 {
        let sql = "SELECT COALESCE(SUM(seq_scan), 0) FROM pg_stat_user_tables WHERE relname IN ('usage_record', 'usage_rollup_hour', 'usage_session')";
        if let TestLedger::Postgres(_) = self.ledger { self.ledger.number(sql) } else { 0 }
    }

    fn index_scans(&self) -> i64 {
        let sql = "SELECT SUM(idx_scan) FROM pg_stat_user_tables WHERE relname IN ('usage_record', 'usage_rollup_hour', 'usage_session')";
        if let TestLedger::Postgres(_) = self.ledger { self.ledger.number(sql) } else { i64::MAX }
    }
}

async fn page(api: &Api, path: &str) -> Value {
    api.get(path).await.ok()
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1]
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [half, most, last] = [50, 95, 100].map(|percent| percentile(&times, percent).as_secs_f64() * 1_000.0);
    println!("{what:<45} {:>4} pages  p50 {half:>6.1} ms  p95 {most:>6.1} ms  max {last:>6.1} ms", times.len());
}

async fn pages_are_read(stage: Stage) {
    let requests = (0..stage.rows).filter(|i| i % 5 < 4).count();
    let at = |ms: i64| Timestamp(stage.start + ms).to_string();
    let year = format!("from={}&to={}", at(0), at(YEAR));
    let key = &stage.keys[0];
    let (scans, looked_up) = (stage.table_scans_settled().await, stage.index_scans());

    // Few while testing: each is a page of a list that another test reads whole.
    let most = if stage.rows > USUAL_ROWS { 400 } else { 30 };
    let mut all = Vec::new();
    for (groups, limit) in [
        ("day", 50),
        ("hour", 50),
        ("day,model", 50),
        ("day,model,key", 200),
        ("hour,model,key", 200),
        ("model", 50),
        ("model,provider,key", 50),
        ("member", 50),
        ("day,member", 50),
        ("session", 50),
        ("session", 200),
        ("day,session,model", 50),
        ("hour,session", 50),
        ("member,session", 50),
    ] {
        let path = format!("/v1/usage?{year}&group_by={groups}&limit={limit}");
        let (rows, times) = stage.read(&path, most).await;
        if times.len() < most && !groups.contains("session") {
            let listed: u64 = rows.iter().map(|row| row["requests"].as_u64().unwrap()).sum();
            assert_eq!(listed, requests as u64, "{groups} is whole");
        }
        all.extend(&times);
        report(&format!("usage by {groups}, a year"), times);
    }
    // The account's last request that names a session.
    let last = (0..stage.rows).rev().find(|i| i % 5 < 4 && i % UNNAMED != 0).unwrap();
    let session = format!("ses-{}", last / TOGETHER);
    let mut fixed = Vec::new();
    for (what, path) in [
        ("usage, 30 days up to now", "/v1/usage?limit=50".to_owned()),
        (
            "usage by model, half a year within hours",
            format!("/v1/usage?from={}&to={}&group_by=model", at(5 * HOUR_MS), at(YEAR / 2)),
        ),
        ("usage of a model by hour, a year", format!("/v1/usage?{year}&group_by=hour&model=model-3")),
        ("usage of a rare model by hour, a year", format!("/v1/usage?{year}&group_by=hour&model=rare")),
        ("sessions of a model, a year", format!("/v1/usage?{year}&group_by=session&model=model-3")),
        ("sessions of a rare model, a year", format!("/v1/usage?{year}&group_by=session&model=rare")),
        (
            "sessions of the latest day",
            "/v1/usage?group_by=session".to_owned() + &format!("&from={}", at(YEAR - DAY_MS)),
        ),
        ("one session by hour and model, a year", format!("/v1/usage?{year}&group_by=hour,model&session={session}")),
        (
            "one session by minute",
            format!("/v1/usage?group_by=minute&session={session}&from={}", at(YEAR - 3 * DAY_MS)),
        ),
        ("usage by minute, a week", format!("/v1/usage?group_by=minute&limit=200&from={}", at(YEAR - 6 * DAY_MS))),
        ("minutes by session", format!("/v1/usage?group_by=minute,session&from={}", at(YEAR - 6 * DAY_MS))),
        ("minutes of a rare model", format!("/v1/usage?group_by=minute&model=rare&from={}", at(YEAR - 6 * DAY_MS))),
        ("usage of no member, a year", format!("/v1/usage?{year}&group_by=day&member_id=none")),
        ("usage of a key by day and model, a year", format!("/v1/usage?{year}&group_by=day,model&key_id={key}")),
    ] {
        fixed.push((what, path));
    }
    for (what, path) in &fixed {
        let (rows, times) = stage.read(path, 100).await;
        assert!(!rows.is_empty() || what.contains("rare"), "{what}");
        all.extend(&times);
        report(what, times);
    }
    report("all pages of usage", all);

    let mut all = Vec::new();
    let lists = [
        ("requests, newest", "/v1/requests?limit=50".to_owned(), None),
        ("requests up to mid-year, 200 a page", format!("/v1/requests?to={}&limit=200", at(YEAR / 2)), None),
        ("requests of a model", "/v1/requests?limit=50&model=model-3".to_owned(), None),
        ("requests of a key and a model", format!("/v1/requests?limit=50&model=model-5&key_id={key}"), None),
        ("requests of a rare model, to their end", "/v1/requests?limit=50&model=rare".to_owned(), Some("rare")),
        ("requests of a session", format!("/v1/requests?limit=50&session={session}"), None),
        ("requests of a model that is not there", "/v1/requests?limit=50&model=other".to_owned(), Some("other")),
    ];
    for (what, path, whole) in lists {
        let (rows, times) = stage.read(&path, most).await;
        assert!(rows.is_sorted_by(|a, b| a["ended_at"].as_str() >= b["ended_at"].as_str()), "{what}");
        match whole {
            Some("rare") => {
                let rare = (0..stage.rows).step_by(usize::try_from(RARE).unwrap()).count();
                assert!(times.len() == most || rows.len() == rare, "{} of {rare}", rows.len());
            }
            Some(_) => assert!(rows.is_empty(), "{what}"),
            None if what.ends_with("session") => assert!((1..=4).contains(&rows.len()), "{what}: {rows:?}"),
            None => assert!(times.len() >= most.min(100), "{what}"),
        }
        all.extend(&times);
        report(what, times);
    }
    report("all pages of requests", all);
    assert_eq!(stage.table_scans_after(looked_up).await, scans, "a page read a whole table");
    exported(&stage, requests).await;
    on_pages(&stage).await;
}

/// The dashboard's pages say what is not on them: of many keys the dearest are.
async fn on_pages(stage: &Stage) {
    let visitor = super::dashboard::visitor(&stage.server, &stage.customer.key).await;
    let page = visitor.get("/requests?session=nobodys").await.body;
    assert!(page.contains("No request has ended in this session yet"), "{page}");
    // The dearest of 600 keys is the last by its id.
    let hour = Timestamp(stage.start + YEAR - HOUR_MS);
    let keys: Vec<String> = (1..=600_i64)
        .map(|number| {
            let id = stage.ledger.id(&format!("ffffffff-0000-7000-8000-{number:012}"));
            format!("({id}, CAST({} AS BIGINT))", number * 1_000_000_000)
        })
        .collect();
    stage.ledger.run(&format!(
        "INSERT INTO usage_rollup (account_id, span, starts_at, model, provider, key_id, requests, failed, input_tokens, \
         cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens, compute_ms, billed_seconds, charged) \
         SELECT {}, span, {at} - {at} % (span * 3600000), 'model-0', 'openai', k.column1, 1, 0, 0, 0, 0, 0, 0, 0, 0, k.column2 \
         FROM (SELECT 1 AS span UNION ALL SELECT 24) spans CROSS JOIN (VALUES {}) k",
        stage.ledger.id(&stage.customer.id),
        keys.join(", "),
        at = hour.0,
    ));
    let page = visitor.get("/usage?days=30").await.body;
    let by_key = page.split("By key and member").nth(1).unwrap().split("By member").next().unwrap();
    assert!(by_key.contains("$600.00") && !by_key.contains("$100.00<"), "{by_key}");
    assert!(by_key.contains("The 500 keys and members that cost most are shown"), "{by_key}");
}

impl Stage {
    /// Sequential scans, once what the migrations and the filling read is counted: a connection that idles tells its
    /// counts within ten seconds (PostgreSQL's source, `PGSTAT_IDLE_INTERVAL`).
    async fn table_scans_settled(&self) -> i64 {
        let mut scans = self.table_scans();
        if matches!(self.ledger, TestLedger::Postgres(_)) {
            loop {
                tokio::time::sleep(Duration::from_secs(12)).await;
                let now = self.table_scans();
                if now == scans {
                    break;
                }
                scans = now;
            }
        }
        scans
    }

    /// Sequential scans, when the counters have caught up with what was read since: where they never do, nothing was
    /// measured.
    async fn table_scans_after(&self, looked_up: i64) -> i64 {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let seen = self.index_scans();
            if seen >= looked_up.saturating_add(200) {
                return self.table_scans_settled().await;
            }
            assert!(Instant::now() < deadline, "{} look-ups are counted of more than 200", seen - looked_up);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The gateway's memory that is not a file's, in MiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_024
    }
}

/// The whole year as CSV, in little memory.
async fn exported(stage: &Stage, requests: usize) {
    let (began, before) = (Instant::now(), stage.memory());
    let request = stage.customer.api.request(reqwest::Method::GET, "/v1/usage.csv");
    let mut response = request.send().await.unwrap();
    let (mut lines, mut bytes, mut highest) = (0, 0, 0);
    while let Some(chunk) = response.chunk().await.unwrap() {
        lines += chunk.split(|byte| *byte == b'\n').count() - 1;
        if bytes / 10_000_000 != (bytes + chunk.len()) / 10_000_000 {
            highest = highest.max(stage.memory());
        }
        bytes += chunk.len();
    }
    assert_eq!(lines, requests + 1, "a header, and a line for each request");
    assert!(highest < before + 64, "memory grew from {before} to {highest} MiB");
    println!("{bytes} bytes of CSV in {:.1?}; memory {before} MiB before, at most {highest} MiB", began.elapsed());
}

#[tokio::test]
async fn pages_over_many_records_on_sqlite() {
    pages_are_read(Stage::set(TestLedger::sqlite()).await).await;
}

#[tokio::test]
async fn pages_over_many_records_on_postgres() {
    let Some(ledger) = TestLedger::postgres() else { return };
    pages_are_read(Stage::set(ledger).await).await;
}
