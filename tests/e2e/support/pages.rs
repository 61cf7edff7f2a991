//! Pages of the gateway's own, by HTTP, for who has signed in: as a browser without scripts shows them.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, redirect::Policy};

use super::{
    client::{Answer, answer},
    server::Server,
};

/// A client that does not follow where it is led.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().redirect(Policy::none()).build().unwrap()
}

/// The value of a hidden field.
#[track_caller]
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {name}: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The addresses of this gateway that a page leads to.
pub(crate) fn links(page: &str) -> Vec<String> {
    let hrefs = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    hrefs.filter(|href| href.starts_with('/')).map(|href| href.replace("&amp;", "&").replace("&#38;", "&")).collect()
}

/// Somebody who has signed in to the pages below a path.
pub(crate) struct Visitor<'a> {
    pub(crate) server: &'a Server,
    pub(crate) root: &'static str,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl<'a> Visitor<'a> {
    /// Who was signed in by this answer, whose cookie must have these parts, and sees the token of forms on a page.
    pub(crate) async fn signed_in(
        server: &'a Server,
        root: &'static str,
        response: reqwest::Response,
        parts: &[&str],
        page: &str,
    ) -> Self {
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let cookie = response.headers()["set-cookie"].to_str().unwrap();
        for part in parts {
            assert!(cookie.contains(part), "{cookie}");
        }
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let mut visitor = Self { server, root, cookie, csrf: String::new() };
        visitor.csrf = hidden(&visitor.get(page).await.body, "csrf");
        visitor
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        client().request(method, format!("{}{path}", self.server.url())).header("cookie", &self.cookie)
    }

    pub(crate) async fn get(&self, page: &str) -> Answer {
        answer(self.request(Method::GET, &format!("{}{page}", self.root))).await
    }

    /// Sends a form as a page of ours does.
    pub(crate) async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = [&[("csrf", self.csrf.as_str())], fields].concat();
        answer(self.request(Method::POST, &format!("{}{path}", self.root)).form(&fields)).await
    }

    /// Follows each link of each page; where links differ only in what stands behind one of these words, one of them.
    pub(crate) async fn follow_links(&self, alike: &[&str]) -> BTreeSet<String> {
        let (mut waiting, mut seen) = (vec![self.root.to_owned()], BTreeSet::new());
        while let Some(path) = waiting.pop() {
            let end = alike.iter().filter_map(|word| path.find(word)).min().unwrap_or(path.len());
            if !seen.insert(path[..end].to_owned()) {
                continue;
            }
            let shown = answer(self.request(Method::GET, &path)).await;
            assert!(shown.status < 400, "{path}: {}: {}", shown.status, shown.body);
            if path.starts_with(self.root) && !path.contains("/assets/") {
                waiting.extend(links(&shown.body));
            }
        }
        seen
    }
}
