//! People who use the dashboard by HTTP, as a browser without scripts does, and the letters that they get.

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};

use super::{
    client::{Answer, answer},
    pages::hidden,
    server::Server,
};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A browser.
#[derive(Clone)]
pub(crate) struct Visitor {
    url: String,
    pub(crate) cookie: String,
    /// What it remembers of a sign-in by an issuer.
    pub(crate) sign_on: String,
}

/// The cookie of a session that an answer sets.
pub(crate) fn cookie_of(answer: &Answer) -> Option<String> {
    set_by(answer, "farebox_session=")
}

/// A cookie that an answer sets; without a value where it ends one.
fn set_by(answer: &Answer, name: &str) -> Option<String> {
    let mut set = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let set = set.find(|set| set.starts_with(name))?;
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    Some(set.split(';').next().unwrap().to_owned())
}

impl Visitor {
    /// One who has not signed in.
    pub(crate) fn new(server: &Server) -> Self {
        Self { url: server.url().to_owned(), cookie: String::new(), sign_on: String::new() }
    }

    /// The same browser, at another node.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { url: server.url().to_owned(), ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        let request = client.request(method, format!("{}{path}", self.url)).header("user-agent", "A <b>browser</b>");
        let cookies = [&self.cookie, &self.sign_on].into_iter().filter(|cookie| !cookie.is_empty());
        let cookies = cookies.cloned().collect::<Vec<_>>().join("; ");
        if cookies.is_empty() { request } else { request.header("cookie", cookies) }
    }

    /// A page; what it sets is kept, as browsers do.
    pub(crate) async fn get(&mut self, page: &str) -> Answer {
        let answer = answer(self.request(Method::GET, &format!("/dashboard{page}"))).await;
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        if let Some(cookie) = cookie_of(answer) {
            self.cookie = cookie;
        }
        if let Some(cookie) = set_by(answer, "farebox_sign_on=") {
            self.sign_on = if cookie.ends_with('=') { String::new() } else { cookie };
        }
    }

    /// Opens an address: a page of this gateway's, or an issuer's, which knows nothing of our cookies. Follows nothing.
    pub(crate) async fn open(&mut self, address: &str) -> Answer {
        let path = address.strip_prefix(&self.url).filter(|path| path.starts_with('/'));
        let Some(path) = path else {
            let client = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
            return answer(client.get(address)).await;
        };
        let answer = answer(self.request(Method::GET, path)).await;
        self.keep(&answer);
        answer
    }

    /// Begins at a page that leads to an issuer, and goes there and back again. Gives the address that the issuer sent the
    /// browser to.
    pub(crate) async fn back_from_issuer(&mut self, begin: &str) -> String {
        let led = self.get(begin).await;
        assert_eq!(led.status, 303, "{}", led.body);
        let there = self.open(led.header("location").unwrap()).await;
        assert_eq!(there.status, 302, "{}", there.body);
        there.header("location").unwrap().to_owned()
    }

    /// Signs in by an issuer.
    pub(crate) async fn sign_in_by(&mut self, begin: &str) -> Answer {
        let back = self.back_from_issuer(begin).await;
        self.open(&back).await
    }

    /// Sends a form of somebody who has not signed in.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = answer(self.request(Method::POST, &format!("/dashboard{path}")).form(fields)).await;
        self.keep(&answer);
        answer
    }

    /// The token of this session's forms.
    pub(crate) async fn csrf(&mut self) -> String {
        hidden(&self.get("/accounts").await.body, "csrf")
    }

    /// Sends a form of a page of this session.
    pub(crate) async fn send(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().await;
        self.post(path, &[&[("csrf", csrf.as_str())], fields].concat()).await
    }

    /// The id of a form on a page; of who is shown no form, one that is good for nothing.
    pub(crate) async fn once(&mut self, page: &str) -> String {
        let page = self.get(page).await.body;
        if page.contains("name=\"once\"") { hidden(&page, "once") } else { uuid::Uuid::nil().to_string() }
    }

    pub(crate) async fn sign_in(&mut self, email: &str, password: &str) -> Answer {
        self.post("/sign-in", &[("email", email), ("password", password), ("next", "/dashboard/keys")]).await
    }

    /// Calls the API as a script of our pages does.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: &Value) -> Answer {
        let csrf = self.csrf().await;
        answer(self.request(method, path).header("x-csrf-token", csrf).json(body)).await
    }

    /// Whether the session is good.
    pub(crate) async fn is_in(&mut self) -> bool {
        self.get("/settings").await.status == 200
    }

    /// Comes in by a link.
    pub(crate) async fn join(&mut self, link: &str, name: &str) -> Answer {
        let token = token_of(link);
        self.post("/join", &[("token", &token), ("name", name), ("password", PASSWORD)]).await
    }
}

/// The token of a link.
pub(crate) fn token_of(link: &str) -> String {
    link.split_once("token=").unwrap().1.to_owned()
}

/// The letters in the outbox to an address, once there are so many; those about events are [`notices`], as they come when a minute
/// ends.
pub(crate) async fn letters(server: &Server, to: &str, count: usize) -> Vec<String> {
    in_outbox(server, to, count, |letter| !is_notice(letter)).await
}

/// The letters about events.
pub(crate) async fn notices(server: &Server, to: &str, count: usize) -> Vec<String> {
    in_outbox(server, to, count, is_notice).await
}

fn is_notice(letter: &str) -> bool {
    letter.contains("\r\nList-Unsubscribe: ")
}

async fn in_outbox(server: &Server, to: &str, count: usize, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let (folder, began) = (server.folder().join("data/outbox"), Instant::now());
    loop {
        let mut files: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "eml"));
        files.sort();
        let mut found: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        found.retain(|letter| letter.contains(&format!("To: {to}\r\n")) && is_meant(letter));
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{} of {count} letters to {to}", found.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The link in a letter, which leads to this gateway.
#[track_caller]
pub(crate) fn link_of(server: &Server, letter: &str) -> String {
    let link = letter.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_else(|| panic!("{letter}"));
    assert!(link.starts_with(server.url()), "{link}");
    link.to_owned()
}

/// Somebody whom an operator lets in: to an account in a role, or to a new one.
pub(crate) async fn person(server: &Server, email: &str, to: Option<(&str, &str)>) -> Visitor {
    let mut body = json!({"email": email});
    if let Some((account, role)) = to {
        body["account"] = account.into();
        body["role"] = role.into();
    }
    let link = server.admin().0.post("/admin/v1/people/invite", &body).await.ok()["link"].as_str().unwrap().to_owned();
    let mut visitor = Visitor::new(server);
    let name = email.split('@').next().unwrap();
    let joined = visitor.join(&link, name).await;
    assert_eq!((joined.status, joined.header("location")), (303, Some("/dashboard")), "{}", joined.body);
    visitor
}
