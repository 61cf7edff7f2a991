//! The pages of people as a person uses them, in Chromium.

use crate::support::{
    browser::Browser,
    fake_openai::FakeOpenAi,
    people::{PASSWORD, letters, link_of, person},
    server::{Options, Server},
};

async fn stage() -> (FakeOpenAi, Server) {
    let fake = FakeOpenAi::start();
    let server = Server::start(Options::default().calling(fake.url()).set("FAREBOX_PEOPLE__SIGN_UP", "open")).await;
    (fake, server)
}

#[tokio::test]
async fn from_signing_up_to_the_first_streamed_answer() {
    let (_fake, server) = stage().await;
    let Some(browser) = Browser::start().await else { return };
    let at = |page: &str| format!("{}/dashboard{page}", server.url());
    browser.open(&at("/playground")).await;
    browser.click("#by-password .links a[href='/dashboard/sign-up']").await;
    browser.fill("#email", "ada@example.com").await;
    browser.click("main button").await;
    browser.sees("[role=status]", |text| text.contains("on its way")).await;
    browser.open(&link_of(&server, &letters(&server, "ada@example.com", 1).await[0])).await;
    browser.fill("#name", "Ada").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("#join button").await;
    browser.sees(".who", |text| text.contains("Ada") && text.contains("owner")).await;
    browser.sees("[data-live=available]", |text| text == "1.00").await;
    browser.open(&at("/playground")).await;
    browser.run("document.querySelector('#model').value = 'gpt-4o-mini'; return null;").await;
    browser.click("#run").await;
    browser.sees("#cost", |text| text.contains("It cost $0.")).await;
    assert!(!browser.text("#answer").await.is_empty());
    // The balance is live by the session, too.
    browser.open(&at("")).await;
    browser.sees("[data-live=available]", |text| text.starts_with("0.9")).await;
    // Somebody is invited, and comes in; and the account is asked for more.
    browser.open(&at("/members")).await;
    browser.fill("#email", "bob@example.com").await;
    browser.click("#invite button").await;
    browser.sees("[role=status]", |text| text.contains("on its way")).await;
    browser.open(&at("/settings")).await;
    browser.click("form[action='/dashboard/settings/sign-out-everywhere'] button").await;
    browser.find("#by-password").await;
    browser.open(&link_of(&server, &letters(&server, "bob@example.com", 1).await[0])).await;
    browser.fill("#name", "Bob").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("#join button").await;
    browser.sees(".who", |text| text.contains("developer")).await;
    browser.click("#ask button").await;
    browser.sees("[role=status]", |text| text.contains("owners are told")).await;
    browser.click("header form button").await;
    browser.fill("#email", "ada@example.com").await;
    browser.fill("#password", PASSWORD).await;
    browser.click("#by-password button").await;
    browser.sees("#wishes", |text| text.contains("bob@example.com asks for credits")).await;
    browser.open(&at("/members")).await;
    browser.click("#members tbody tr:nth-child(2) [data-confirm]").await;
    browser.accept().await;
    browser.sees("main", |text| text.contains("bob@example.com is no more developer, by ada@example.com")).await;
    browser.close().await;
    server.admin().assert_audit().await;
}

#[tokio::test]
async fn pages_of_people_have_no_barriers_and_fit_small_and_large_windows() {
    let (_fake, server) = stage().await;
    let customer = server.admin().customer("payg", "5").await;
    let mut ada = person(&server, "ada@example.com", Some((&customer.id, "owner"))).await;
    person(&server, "a-developer-with-a-long-name@a-long-domain.example.com", Some((&customer.id, "developer"))).await;
    ada.send("/members/invite", &[("email", "bob@example.com"), ("role", "developer")]).await;
    let join = link_of(&server, &letters(&server, "bob@example.com", 1).await[0]);
    ada.post("/forgot", &[("email", "ada@example.com")]).await;
    let reset = link_of(&server, &letters(&server, "ada@example.com", 1).await[0]);
    let Some(browser) = Browser::start().await else { return };
    let at = |page: &str| format!("{}/dashboard{page}", server.url());
    let strangers = [
        ("sign-in", at("/sign-in")),
        ("sign-up", at("/sign-up")),
        ("forgot", at("/forgot")),
        ("join", join),
        ("reset", reset),
    ];
    let own = ["members", "notifications", "settings", "accounts"].map(|page| (page, at(&format!("/{page}"))));
    for (name, url) in strangers.into_iter().chain(own) {
        if name == "members" {
            browser.open(&at("/sign-in")).await;
            browser.fill("#email", "ada@example.com").await;
            browser.fill("#password", PASSWORD).await;
            browser.click("#by-password button").await;
            browser.find(".tiles").await;
        }
        for (width, is_dark) in [(390, false), (390, true), (1280, false), (1280, true)] {
            browser.show(width, is_dark).await;
            browser.open(&url).await;
            browser.find("main").await;
            browser.keep_picture(&format!("people-{name}-{width}-{}", if is_dark { "dark" } else { "light" })).await;
            let barriers = browser.barriers().await;
            assert!(barriers.is_empty(), "{name} at {width}: {barriers:#?}");
            let wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
            assert_eq!(browser.run(wide).await, 0, "{name} is wider than {width}");
        }
    }
    browser.close().await;
}
