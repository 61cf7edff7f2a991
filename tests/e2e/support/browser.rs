//! A real Chromium, which a test drives by the `WebDriver` protocol as a person would.

use std::{
    net::TcpStream,
    path::Path,
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, elements::Element, error::CmdError};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    companion::{As, Companion},
    find_program, free_port,
    node::node_file,
    skip,
};

const START_WITHIN: Duration = Duration::from_secs(30);
/// How long a page may take for what a person waits for.
const SOON: Duration = Duration::from_secs(30);

/// A browser with one window.
pub(crate) struct Browser {
    client: Client,
    _driver: Companion,
}

impl Browser {
    /// Starts one; `None` where Chromium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let found = (find_program("chromedriver", &[]), find_program("chromium", &[]));
        let (Some(driver), Some(chromium)) = found else {
            skip("Chromium or its driver is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let port = free_port();
        let (driver, port_text) = (driver.display().to_string(), format!("--port={port}"));
        let companion = Companion::start("browser", As::Ourselves, "TERM", "true", &[&driver, &port_text]);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START_WITHIN, "the driver did not start: {}", companion.log());
            thread::sleep(Duration::from_millis(20));
        }
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"];
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("no browser: {error}; {}", companion.log()));
        Some(Self { client, _driver: companion })
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub(crate) async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    /// The element that a selector finds, as soon as it is there.
    pub(crate) async fn find(&self, selector: &str) -> Element {
        let wait = self.client.wait().at_most(SOON);
        wait.for_element(Locator::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Does something with the element that a selector finds. Where another page came meanwhile, with the one there.
    async fn with<T>(&self, selector: &str, act: impl AsyncFn(Element) -> Result<T, CmdError>) -> T {
        let began = Instant::now();
        loop {
            match act(self.find(selector).await).await {
                Ok(done) => return done,
                Err(error) if error.is_stale_element_reference() && began.elapsed() < SOON => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        self.with(selector, async |element| element.text().await).await
    }

    /// Waits until an element's text is so.
    pub(crate) async fn sees(&self, selector: &str, is_so: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let text = self.text(selector).await;
            if is_so(&text) {
                return text;
            }
            assert!(began.elapsed() < SOON, "{selector} has: {text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Types into a field what it shall have.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let fill = async |field: Element| {
            field.clear().await?;
            field.send_keys(text).await
        };
        self.with(selector, fill).await;
    }

    /// Types into a field of a frame, which may be of another origin.
    pub(crate) async fn fill_in_frame(&self, frame: &str, selector: &str, text: &str) {
        self.find(frame).await.enter_frame().await.unwrap();
        self.fill(selector, text).await;
        self.client.clone().enter_parent_frame().await.unwrap();
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.with(selector, async |element| element.click().await).await;
    }

    /// Says yes to the question that a page asks.
    pub(crate) async fn accept(&self) {
        self.client.accept_alert().await.unwrap();
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    async fn command(&self, name: &str, parameters: Value) -> Value {
        use fantoccini::wd::WebDriverCompatibleCommand;
        #[derive(Debug)]
        struct DevTools(String);
        impl WebDriverCompatibleCommand for DevTools {
            fn endpoint(
                &self,
                base: &reqwest::Url,
                session: Option<&str>,
            ) -> Result<reqwest::Url, <reqwest::Url as FromStr>::Err> {
                base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
            }

            fn method_and_body(&self, _: &reqwest::Url) -> (Method, Option<String>) {
                (Method::POST, Some(self.0.clone()))
            }
        }
        let body = json!({"cmd": name, "params": parameters}).to_string();
        self.client.issue_cmd(DevTools(body)).await.unwrap()
    }

    /// Shows pages to a person with this width of window who likes it dark, or not.
    pub(crate) async fn show(&self, width: u32, is_dark: bool) {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.command("Emulation.setEmulatedMedia", json!({"features": features})).await;
        let metrics = json!({"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500});
        self.command("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Keeps a picture of the page, as far as it fits into one, below the build folder, for people.
    pub(crate) async fn keep_picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).unwrap();
        // A very long page is too large for a picture.
        let size =
            self.run("const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]").await;
        let height = size[1].as_u64().unwrap().min(5_000);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let whole = json!({"captureBeyondViewport": true, "clip": clip});
        let taken = self.command("Page.captureScreenshot", whole).await;
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// What axe-core finds wrong with the page for people who don't see, or see or move little.
    pub(crate) async fn barriers(&self) -> Vec<String> {
        self.run(&format!("{}; return null;", node_file("axe-core/axe.min.js"))).await;
        let found = self.client.execute_async("axe.run().then(arguments[0]);", vec![]).await.unwrap();
        let said = |violation: &Value| format!("{}: {}", violation["id"], violation["nodes"][0]["html"]);
        found["violations"].as_array().unwrap().iter().map(said).collect()
    }

    pub(crate) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}
