//! What an operator has: routes and commands to find accounts and what became of them, one account for each address, numbers
//! that end where the ledger does, and a word on how each actor fares. Commands speak to their own server and to nobody else.

use std::{
    io::ErrorKind,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    fake_openai::{Behaviour, FakeOpenAi},
    server::{Options, Server},
    test_ledger::TestLedger,
};

#[tokio::test]
async fn commands_call_their_server_past_the_environments_proxy() {
    let server = Server::start(Options::default()).await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &address);
    }
    command
        .args(["account", "create", "ada@example.com"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("FAREBOX_LISTEN", server.url().trim_start_matches("http://"))
        .env("FAREBOX_ADMIN_TOKEN", Server::admin_token())
        .current_dir(server.folder());
    let made = tokio::task::spawn_blocking(move || {
        // A call that goes to the proxy is never answered.
        let mut running = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while running.try_wait().unwrap().is_none() {
            let asked = proxy.accept().map(drop).map_err(|error| error.kind());
            if asked != Err(ErrorKind::WouldBlock) || std::time::Instant::now() > deadline {
                running.kill().unwrap();
                running.wait().unwrap();
                panic!("the proxy was asked: {asked:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(proxy.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        running.wait_with_output().unwrap()
    });
    let made = made.await.unwrap();
    let said: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made.status.success() && said["id"].is_string(), "{said}");
}

/// A command's arguments, run against a server: its exit status, what it printed, and what it complained of.
async fn run(server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command
        .args(arguments)
        .env("FAREBOX_LISTEN", server.url().trim_start_matches("http://"))
        .env("FAREBOX_ADMIN_TOKEN", Server::admin_token())
        .current_dir(server.folder());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The JSON that a command prints.
async fn printed(server: &Server, arguments: &[&str]) -> Value {
    let (status, said, complained) = run(server, arguments).await;
    assert_eq!(status, Some(0), "{arguments:?}: {said}{complained}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

fn data(list: &Value) -> &Vec<Value> {
    list["data"].as_array().unwrap_or_else(|| panic!("no list: {list}"))
}

#[tokio::test]
async fn an_operator_finds_an_account_and_all_that_became_of_it() {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url())).await;
    let admin = server.admin();
    let make = async |email: &str, plan: &str| {
        admin.0.post("/admin/v1/accounts", &json!({"email": email, "plan": plan})).await.ok()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let ada = make("ada@example.com", "payg").await;
    for number in 0..4 {
        make(&format!("u{number}@else.org"), if number % 2 == 0 { "free" } else { "payg" }).await;
    }
    let get = async |path: &str| admin.0.get(&format!("/admin/v1/{path}")).await;

    // Listed newest first, by pages, by part of their address and by plan.
    let first = get("accounts?limit=2").await.ok();
    assert_eq!(data(&first)[0]["email"], "u3@else.org");
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&format!("accounts?limit=200&cursor={cursor}")).await.ok();
    assert_eq!((data(&second).len(), &data(&second)[2]["id"]), (3, &json!(ada)));
    assert_eq!(data(&get("accounts?search=ADA@exam").await.ok())[0]["available"], "5.00");
    let found = get("accounts?search=else&plan=free").await.ok();
    assert_eq!(
        data(&found).iter().map(|row| row["email"].as_str().unwrap()).collect::<Vec<_>>(),
        ["u2@else.org", "u0@else.org"]
    );
    for (query, field) in
        [("search=", "search"), ("plan=rich", "plan"), ("limit=0", "limit"), ("cursor=x", "cursor"), ("form=1", "form")]
    {
        let refused = get(&format!("accounts?{query}")).await;
        assert_eq!((refused.status, refused.json()["field"].as_str()), (400, Some(field)), "{}", refused.body);
    }

    // Addressed by id or by address, for reading and for acting.
    let key = admin.0.post("/admin/v1/accounts/Ada@example.com/keys", &json!({"name": "hers"})).await.ok();
    let api = server.api(key["key"].as_str().unwrap());
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    assert_eq!(api.post("/v1/chat/completions", &body).await.status, 200);
    let bought = json!({"amount": "10", "payment_method": "pm_card_visa"});
    api.post("/v1/credits/purchase", &bought).await.ok();
    let given = json!({"source": "promo", "amount": "2", "reason": "she asked nicely"});
    let grant = admin.0.post("/admin/v1/accounts/ada@example.com/grants", &given).await.ok();
    let void = format!("/admin/v1/accounts/{ada}/grants/{}/void", grant["id"].as_str().unwrap());
    admin.0.post(&void, &json!({"amount": "1", "reason": "she asked twice"})).await.ok();
    for whose in [ada.as_str(), "ada@example.com", "%20ADA%40Example.com"] {
        let list = async |what: &str| get(&format!("accounts/{whose}/{what}")).await.ok();
        // What its owner reads, word for word.
        for what in ["grants", "payments", "requests", "holds", "events", "keys"] {
            let hers = api.get(&format!("/v1/{what}")).await.ok();
            assert_eq!(list(what).await, hers, "{what} of {whose}");
        }
        assert_eq!(data(&list("usage").await)[0]["requests"], 1);
        assert_eq!(list("balance").await, api.get("/v1/balance").await.ok());
        let actions = list("actions").await;
        let said: Vec<_> = data(&actions).iter().map(|row| (row["action"].clone(), row["reason"].clone())).collect();
        assert_eq!(
            said,
            [(json!("void_grant"), json!("she asked twice")), (json!("grant"), json!("she asked nicely"))]
        );
        assert_eq!(data(&actions)[0]["amount"], "1.00");
        let shown = get(&format!("accounts/{whose}")).await.ok();
        let own = api.get("/v1/account").await.ok();
        for field in ["email", "plan", "tier", "subscription", "auto_reload", "balance"] {
            assert_eq!(shown[field], own[field], "{field}");
        }
        assert_eq!(
            (&shown["keys"][0]["name"], &shown["open_holds"], &shown["twin"]),
            (&json!("hers"), &json!(0), &json!(false))
        );
        assert_eq!(shown["last_actions"], actions["data"]);
    }
    assert_eq!(data(&get("actions").await.ok()).len(), 2);
    assert_eq!(data(&get("accounts/ada@example.com/grants?limit=1").await.ok()).len(), 1);

    // Not with an owner's key, not for nobody, and nothing that only its owner may do.
    for path in ["accounts", "actions", "accounts/ada@example.com", "accounts/ada@example.com/grants"] {
        assert_eq!(api.get(&format!("/admin/v1/{path}")).await.status, 401, "{path}");
        assert_eq!(server.get(&format!("/admin/v1/{path}")).await.status, 401, "{path}");
    }
    let nobody = uuid::Uuid::nil();
    for (whose, status) in [("bob@example.com", 404), (nobody.to_string().as_str(), 404), ("ada", 400), ("@", 400)] {
        let refused = get(&format!("accounts/{whose}/requests")).await;
        assert_eq!(refused.status, status, "{whose}: {}", refused.body);
    }
    assert_eq!(server.api(Server::admin_token()).get("/v1/grants").await.status, 401);
    admin.assert_audit().await;
}

#[tokio::test]
async fn the_command_line_speaks_of_accounts_by_address_and_prints_for_people() {
    let server = Server::start(Options::default()).await;
    let made = printed(&server, &["account", "create", "Ada@Example.com", "--plan", "payg"]).await;
    assert_eq!(made["email"], "ada@example.com");
    printed(&server, &["account", "create", "bob@example.com"]).await;
    let key = printed(&server, &["key", "create", "ada@example.com", "--name", "hers"]).await;
    let grant = printed(
        &server,
        &["credits", "grant", "ada@example.com", "2", "--reason", "she asked", "--expires-at", "2099-01-01"],
    )
    .await;
    let grant_id = grant["id"].as_str().unwrap();
    printed(&server, &["credits", "void", "ada@example.com", grant_id, "--amount", "1", "--reason", "too much"]).await;

    let (status, said, _) = run(&server, &["account", "list", "--search", "ada"]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 2), "{said}");
    assert!(
        lines[0].starts_with("ID ") && lines[0].contains("EMAIL") && lines[1].contains("ada@example.com"),
        "{said}"
    );
    assert!(!said.contains(['{', '"']), "{said}");
    let listed = printed(&server, &["account", "list", "--json"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(printed(&server, &["account", "show", "ada@example.com", "--json"]).await["id"], made["id"]);
    for (arguments, word) in [
        (&["key", "list", "ada@example.com"][..], "hers"),
        (&["credits", "list", "ada@example.com"], "2099-01-01"),
        (&["account", "actions", "ada@example.com"], "too much"),
        (&["account", "payments", "ada@example.com"], "none"),
        (&["account", "requests", "ada@example.com", "--limit", "3"], "none"),
        (&["account", "holds", "ada@example.com"], "none"),
        (&["account", "events", "ada@example.com"], "none"),
        (&["account", "usage", "ada@example.com"], "none"),
        (&["actors"], "journal"),
    ] {
        let (status, said, complained) = run(&server, arguments).await;
        assert!(status == Some(0) && said.contains(word), "{arguments:?}: {said}{complained}");
    }
    printed(&server, &["key", "revoke", "ada@example.com", key["id"].as_str().unwrap()]).await;
    let keys = printed(&server, &["key", "list", "ada@example.com", "--json"]).await;
    assert!(keys[0]["revoked_at"].is_string(), "{keys}");

    // One cause, once, in words.
    for (arguments, words) in [
        (&["account", "create", "ADA@example.com"][..], "that email address is taken already"),
        (&["account", "create", "a\u{1}@example.com"], "email: must not have control characters"),
        (&["account", "show", "eve@example.com"], "the account"),
        (&["credits", "grant", "bob@example.com", "much"], "amount: not a decimal amount"),
        (&["credits", "grant", "bob@example.com", "1", "--expires-at", "10000-01-01"], "expires_at: must be a date"),
        (&["account", "create", "eve@example.com", "--plan", "rich"], "possible values: free, payg"),
        (
            &["credits", "grant", "bob@example.com", "1", "--source", "purchase"],
            "possible values: promo, goodwill, plan, free",
        ),
        (&["--set", "payments.processor=cash", "account", "list"], "must be one of sandbox, stripe, not cash"),
    ] {
        let (status, said, complained) = run(&server, arguments).await;
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
        assert!(said.is_empty() && complained.matches(words).count() == 1, "{arguments:?}: {said}{complained}");
        for serde in ["unknown variant", "at line", "invalid type", "expected `"] {
            assert!(!complained.contains(serde), "{arguments:?}: {complained}");
        }
    }
}

#[tokio::test]
async fn every_spelling_of_an_address_is_one_account() {
    for ledger in [Some(TestLedger::sqlite()), TestLedger::postgres()].into_iter().flatten() {
        let server = Server::start(ledger.options()).await;
        let admin = server.admin();
        let make = async |email: &str| admin.0.post("/admin/v1/accounts", &json!({"email": email})).await;
        let made = make("x@example.com").await.ok();
        for email in ["X@example.com", " x@example.com", "x@EXAMPLE.com\t", "\u{ff58}@example.com"] {
            let refused = make(email).await;
            assert_eq!(
                (refused.status, &refused.json()["code"]),
                (409, &json!("conflict")),
                "{email:?}: {}",
                refused.body
            );
        }
        for email in [
            "",
            "x",
            "@example.com",
            "x@",
            "x@@example.com",
            "a\u{0}b@example.com",
            "a\nb@example.com",
            "a b@example.com",
            "x@exa mple.com",
        ] {
            let refused = make(email).await;
            assert_eq!(
                (refused.status, &refused.json()["field"]),
                (400, &json!("email")),
                "{email:?}: {}",
                refused.body
            );
        }
        // The database holds it, whoever writes.
        let id = ledger.id(&uuid::Uuid::now_v7().to_string());
        let twice = format!(
            "INSERT INTO account (id, email, plan, created_at, clock) VALUES ({id}, 'X@Example.com', 'free', 1, 1)"
        );
        ledger.try_run(&twice).unwrap_err();
        drop(server);

        // Accounts of before: one spelled anew, and two that are one address, of which the older has it.
        let ids: Vec<String> = (0..3).map(|_| uuid::Uuid::now_v7().to_string()).collect();
        ledger.run("DROP INDEX account_address");
        ledger.run("ALTER TABLE account DROP COLUMN twin");
        ledger.run("DELETE FROM seaql_migrations WHERE version LIKE 'm0010%'");
        for (id, email) in ids.iter().zip([" Old@Example.com", "TWIN@example.com", "Twin@example.com"]) {
            let id = ledger.id(id);
            ledger.run(&format!(
                "INSERT INTO account (id, email, plan, created_at, clock) VALUES ({id}, '{email}', 'free', 1, 1)"
            ));
        }
        let server = Server::start(ledger.options()).await;
        let admin = server.admin();
        let shown = async |whose: &str| {
            let account = admin.account(whose).await;
            (account["id"].clone(), account["email"].clone(), account["twin"].clone())
        };
        assert_eq!(shown("old@example.com").await, (json!(ids[0]), json!("old@example.com"), json!(false)));
        assert_eq!(shown("twin@example.com").await, (json!(ids[1]), json!("twin@example.com"), json!(false)));
        assert_eq!(shown(&ids[2]).await, (json!(ids[2]), json!("Twin@example.com"), json!(true)));
        assert_eq!(shown("x@example.com").await.0, made["id"]);
        server.says("Twin@example.com").await;
        admin.grant(&ids[2], "promo", "1").await;
        admin.assert_audit().await;
    }
}

#[tokio::test]
async fn no_instant_that_comes_in_is_beyond_the_year_9999() {
    let server = Server::start(Options::default()).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "0").await;
    let grants = format!("/admin/v1/accounts/{}/grants", customer.id);
    for at in [
        json!(253_402_300_800_000_i64),
        json!(i64::MAX),
        json!("10000-01-01"),
        json!("9999-12-31T23:59:59-23:59"),
        json!(-1),
        json!(1.5),
    ] {
        let body = json!({"source": "promo", "amount": "1", "expires_at": at});
        let refused = admin.0.post(&grants, &body).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("expires_at")), "{at}: {}", refused.body);
        if at.is_string() {
            let refused = customer.api.post("/v1/keys", &json!({"expires_at": at})).await;
            assert_eq!(
                (refused.status, &refused.json()["field"]),
                (400, &json!("expires_at")),
                "{at}: {}",
                refused.body
            );
        }
    }
    for at in [json!("9999-12-31T23:59:59.999Z"), json!(253_402_300_799_999_i64)] {
        admin.0.post(&grants, &json!({"source": "promo", "amount": "1", "expires_at": at})).await.ok();
    }
    for path in
        ["requests?from=9999-12-31T23:59:59-01:00", "usage?to=10000-01-01", "usage.csv?from=9999-12-31T12:00:00-23:00"]
    {
        assert_eq!(customer.api.get(&format!("/v1/{path}")).await.status, 400, "{path}");
    }
    let mut moved = 0;
    let refused = loop {
        let answer = admin.0.post("/admin/v1/clock", &json!({"advance_seconds": u32::MAX})).await;
        if answer.status != 200 {
            break answer;
        }
        moved += 1;
        assert!(moved < 100, "{}", answer.body);
    };
    assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("advance_seconds")), "{}", refused.body);
    assert!(moved > 50, "it was moved by {moved} times 136 years");
    let balance = customer.api.get("/v1/balance").await.ok();
    assert_eq!(balance["next_expiry"]["at"].as_str().unwrap().len(), "9999-12-31T23:59:59.999Z".len(), "{balance}");
    admin.assert_audit().await;
}

#[tokio::test]
async fn credits_beyond_what_an_account_can_hold_are_refused() {
    let ledger = TestLedger::usual();
    let server = Server::start(ledger.options()).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "1").await;
    let grants = format!("/admin/v1/accounts/{}/grants", customer.id);
    let promo = customer.api.get("/v1/grants").await.ok()["data"][0]["id"].as_str().unwrap().to_owned();
    drop(server);
    // As if it had been given a million nine thousand times, but for one and a half.
    let all = 8_998_500_000_000_000_000_i64;
    let id = ledger.id(&promo);
    ledger.run(&format!("UPDATE credit_grant SET funded = {all}, available = {all} WHERE id = {id}"));
    ledger.run(&format!(
        "INSERT INTO journal (account_id, seq, line, at, batch_id, epoch, kind, grant_id, request_id, d_funded, d_available, \
         d_held, d_spent, d_expired, d_voided, d_debt) SELECT account_id, seq, 99, at, batch_id, epoch, kind, grant_id, request_id, \
         {all} - d_funded, {all} - d_available, 0, 0, 0, 0, 0 FROM journal WHERE grant_id = {id}"
    ));
    let server = Server::start(ledger.options()).await;
    let (admin, api) = (server.admin(), server.api(&customer.key));
    let million = json!({"source": "goodwill", "amount": "1000000", "reason": "rich"});
    admin.0.post(&grants, &million).await.ok();
    for _ in 0..2 {
        let refused = admin.0.post(&grants, &million).await;
        assert_eq!((refused.status, &refused.json()["field"]), (400, &json!("amount")), "{}", refused.body);
    }
    let bought =
        api.post("/v1/credits/purchase", &json!({"amount": "1000000", "payment_method": "pm_card_visa"})).await;
    assert_eq!((bought.status, &bought.json()["field"]), (400, &json!("amount")), "{}", bought.body);
    assert_eq!(api.get("/v1/balance").await.ok()["available"], "8999500005.00");
    assert_eq!(admin.actors().await["kinds"][0]["panics"], 0);
    // All is well but for the grant: the log does not know of its millions.
    let audit = admin.audit().await;
    let violations = audit["violations"].as_array().unwrap();
    assert!(violations.iter().all(|violation| violation["invariant"] == 19), "{audit:#}");
    let said = violations[0]["what"].as_str().unwrap();
    assert!(violations.len() == 1 && said.starts_with("grant's row is not what the log says") && said.contains(&promo));
}

#[tokio::test]
async fn each_actor_is_known_by_name_and_says_how_it_fares() {
    let fake = FakeOpenAi::start();
    let options = Options::default().calling(fake.url()).set("FAREBOX_FAULTS", "true");
    let server = Server::start(options).await;
    let admin = server.admin();
    let customer = admin.customer("payg", "5").await;
    let seen = async |name: &str| {
        let actors = admin.actors().await["actors"].clone();
        let found = actors.as_array().unwrap().iter().find(|actor| actor["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {name}: {actors}"))
    };
    for (name, kind) in [
        ("7B", "pool"),
        ("15B", "pool"),
        ("35B", "pool"),
        ("70B", "pool"),
        ("120B", "pool"),
        ("openai", "provider"),
        ("journal", "journal"),
        ("payment", "payment"),
        ("sweeper", "sweeper"),
        ("webhook", "webhook"),
        ("supervisor", "supervisor"),
        ("account", "account"),
    ] {
        let actor = seen(name).await;
        assert_eq!(
            (&actor["kind"], &actor["verdict"], &actor["restarts"]),
            (&json!(kind), &json!("ok"), &json!(0)),
            "{actor}"
        );
        assert!(actor["since"].as_str().unwrap().ends_with('Z') && actor["last_restarts"] == json!([]), "{actor}");
        let beats = actor["heartbeat_ms"].as_i64();
        assert_eq!(beats.is_some(), kind != "account", "{actor}");
    }
    // A sign of life is not a message: a pool that nobody asked for anything beats.
    assert_eq!(seen("120B").await["last_message_ms"], json!(null));
    let deadline = Instant::now() + Duration::from_secs(20);
    let until = async |name: &str, what: &dyn Fn(&Value) -> bool| loop {
        let actor = seen(name).await;
        if what(&actor) {
            break actor;
        }
        assert!(Instant::now() < deadline, "{actor}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    admin.0.post("/admin/v1/faults", &json!({"pool": "35B"})).await.ok();
    let pool = until("35B", &|pool| pool["restarts"] == 1).await;
    assert_eq!(
        (&pool["verdict"], &pool["panics"], &pool["live"]),
        (&json!("degraded"), &json!(1), &json!(1)),
        "{pool}"
    );
    assert_eq!(pool["last_restarts"][0]["reason"], "panicked");
    assert!(pool["reasons"][0].as_str().unwrap().contains("it panicked"), "{pool}");
    assert_eq!(seen("7B").await["verdict"], "ok", "its neighbours are well");

    for _ in 0..24 {
        fake.script(Behaviour::Status(500));
    }
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to me"}]});
    for _ in 0..5 {
        assert_eq!(customer.api.post("/v1/chat/completions", &body).await.status, 502);
    }
    let provider = until("openai", &|provider| provider["verdict"] == "degraded").await;
    assert!(provider["reasons"][0].as_str().unwrap().contains("calls failed"), "{provider}");
    for _ in 0..15 {
        customer.api.post("/v1/chat/completions", &body).await;
    }
    // The model is left alone, and its provider is not.
    let provider = until("openai", &|provider| provider["parts"][0]["verdict"] == "down").await;
    assert_eq!((&provider["verdict"], &provider["parts"][0]["name"]), (&json!("degraded"), &json!("gpt-4o-mini")));
    let metrics = server.get("/metrics").await.body;
    for line in [
        "farebox_actor_verdict{kind=\"provider\",name=\"openai\"} 1",
        "farebox_actor_up{kind=\"provider\",name=\"openai\"} 1",
        "farebox_provider_model_verdict{provider=\"openai\",model=\"gpt-4o-mini\"} 2",
        "farebox_actor_verdict{kind=\"pool\",name=\"35B\"} 1",
        "farebox_actor_named_restarts_total{kind=\"pool\",name=\"35B\"} 1",
        "farebox_actor_verdict{kind=\"journal\",name=\"journal\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
}
