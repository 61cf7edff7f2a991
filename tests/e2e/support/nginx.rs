//! nginx before a gateway, as Debian packages it: its default buffering, TLS towards clients. And before several nodes, as
//! `config/nginx.conf` has it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};

use super::{
    companion::{As, Companion},
    find_program, free_port, skip, temporary,
};

const START_WITHIN: Duration = Duration::from_secs(30);

/// A running nginx.
pub(crate) struct Nginx {
    companion: Companion,
    folder: PathBuf,
    url: String,
}

impl Nginx {
    /// Starts one before this server; `None` where nginx is not installed.
    pub(crate) fn before(server: SocketAddr) -> Option<Self> {
        let port = free_port();
        let site = |at: &Path| {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            fs::write(at.join("key.pem"), key.serialize_pem()).unwrap();
            fs::write(at.join("certificate.pem"), certificate.pem()).unwrap();
            let at = at.display();
            format!(
                "server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {at}/certificate.pem;
                    ssl_certificate_key {at}/key.pem;
                    location / {{ proxy_pass http://{server}; }}
                }}\n"
            )
        };
        Self::start(format!("https://localhost:{port}"), port, site)
    }

    /// Starts the one of `config/nginx.conf` before these nodes; `None` where nginx is not installed.
    pub(crate) fn of_the_cluster(nodes: &[SocketAddr]) -> Option<Self> {
        let port = free_port();
        let mut site = include_str!("../../../config/nginx.conf").to_owned();
        for (place, node) in nodes.iter().enumerate() {
            let name = format!("server farebox-{}:8080 ", place + 1);
            assert!(site.contains(&name), "{name}");
            site = site.replace(&name, &format!("server {node} "));
        }
        assert!(site.contains("listen 80;") && !site.contains("server farebox-"));
        let site = site.replace("listen 80;", &format!("listen 127.0.0.1:{port};"));
        Self::start(format!("http://127.0.0.1:{port}"), port, |_| site)
    }

    /// Starts one with such a site, whose files may be put into a folder.
    fn start(url: String, port: u16, site: impl FnOnce(&Path) -> String) -> Option<Self> {
        let Some(program) = find_program("nginx", &["/usr/sbin".into()]) else {
            skip("nginx is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let folder = temporary("nginx-files");
        fs::create_dir_all(&folder).unwrap();
        let (at, site) = (folder.display(), site(&folder));
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\nevents {{}}\nhttp {{\n{temporary}access_log off;\n{site}}}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let (program, file) = (program.display().to_string(), file.display().to_string());
        let companion = Companion::start("nginx", As::Ourselves, "KILL", "true", &[&program, "-p", ".", "-c", &file]);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START_WITHIN, "nginx did not start\n{}", companion.log());
            thread::sleep(Duration::from_millis(10));
        }
        Some(Self { companion, folder, url })
    }

    /// Its address; nobody signed its certificate, where it has one.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- nginx said:\n{}\n---", self.companion.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
