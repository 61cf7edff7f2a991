//! nginx before a gateway, as Debian packages it: its default buffering, TLS towards clients.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
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
    _companion: Companion,
    folder: PathBuf,
    port: u16,
}

impl Nginx {
    /// Starts one before this server; `None` where nginx is not installed.
    pub(crate) fn before(server: SocketAddr) -> Option<Self> {
        let Some(program) = find_program("nginx", &["/usr/sbin".into()]) else {
            skip("nginx is not installed, and tests/setup.sh could not install it");
            return None;
        };
        let (folder, port) = (temporary("nginx-files"), free_port());
        fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(folder.join("certificate.pem"), certificate.pem()).unwrap();
        let at = folder.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = kinds.map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr;\nevents {{}}\nhttp {{\n{temporary}access_log off;
            server {{
                listen 127.0.0.1:{port} ssl;
                ssl_certificate {at}/certificate.pem;
                ssl_certificate_key {at}/key.pem;
                location / {{ proxy_pass http://{server}; }}
            }}\n}}\n"
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
        Some(Self { _companion: companion, folder, port })
    }

    /// Its address, whose certificate nobody signed.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
