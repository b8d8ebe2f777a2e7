//! A real registry on loopback: Debian's `docker-registry`, filled by `skopeo`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http::Http;
use crate::{artifacts, wait};

/// Who may log in to a registry that asks for it.
pub const LOGIN: (&str, &str) = ("me", "right");

/// A running registry; it ends with the test.
#[derive(Debug)]
pub struct Registry {
    /// Where it listens; the same after [`Self::start_again`].
    pub address: SocketAddr,
    child: Child,
    dir: tempfile::TempDir,
    login: bool,
}

impl Registry {
    /// Starts one; None, and why, where a program for it is missing.
    pub fn start(test: &str) -> Option<Self> {
        Self::with(test, false)
    }

    /// One that wants [`LOGIN`].
    pub fn with_login(test: &str) -> Option<Self> {
        Self::with(test, true)
    }

    fn with(test: &str, login: bool) -> Option<Self> {
        for (program, package) in [("docker-registry", "docker-registry"), ("skopeo", "skopeo")] {
            if !has_program(program) {
                println!("SKIPPED {test}: no {program}; enable: apt-get install {package}");
                return None;
            }
        }
        let dir = tempfile::tempdir().unwrap();
        if login {
            // `htpasswd -nbB me right`: the hash is of that word alone.
            let hash = "me:$2y$05$zxHkaEKdzZNjifbBwlZPOutjux5V.y/0zAJjTOiLuLaVEVRM6686W\n";
            fs::write(dir.path().join("htpasswd"), hash).unwrap();
        }
        let (child, address) = launch(dir.path(), "127.0.0.1:0", login);
        Some(Self { address, child, dir, login })
    }

    /// Kills it in whatever it is doing.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`Self::kill`]: another one with its data and its address. Its log
    /// begins anew.
    pub fn start_again(&mut self) {
        self.child = launch(self.dir.path(), &self.address.to_string(), self.login).0;
    }

    /// Lines of the requests since it was started.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(log(self.dir.path())).unwrap();
        log.lines().filter(|line| line.contains("\" ")).map(str::to_owned).collect()
    }

    /// A copy of an image by `skopeo`; `to` is `NAME:TAG`.
    pub fn push(&self, from: &str, to: &str) {
        let mut copy = skopeo_copy();
        copy.args(["--dest-tls-verify=false", from]).arg(format!("docker://{}/{to}", self.address));
        if self.login {
            copy.arg(format!("--dest-creds={}:{}", LOGIN.0, LOGIN.1));
        }
        run(&mut copy);
    }

    /// A manifest or index as it is, under a tag.
    pub fn put(&self, name: &str, tag: &str, kind: &str, document: &Value) {
        let path = format!("/v2/{name}/manifests/{tag}");
        let body = document.to_string();
        let headers = [("Content-Type", kind)];
        let answer = Http::new(self.address).send("PUT", &path, &headers, body.as_bytes());
        let mut answer = answer.unwrap();
        let said = answer.json();
        assert_eq!(answer.status, 201, "{said:?}");
    }

    /// The manifest of a tag, and its digest.
    pub fn manifest(&self, name: &str, tag: &str) -> (Value, String) {
        let path = format!("/v2/{name}/manifests/{tag}");
        let headers = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
        let mut answer = Http::new(self.address).send("GET", &path, &headers, b"").unwrap();
        assert_eq!(answer.status, 200);
        let digest = answer.header("docker-content-digest").unwrap().to_owned();
        (answer.json().unwrap(), digest)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(log(self.dir.path())).unwrap_or_default());
        }
    }
}

/// One of the sample images, as `skopeo` names it.
pub fn sample(name: &str) -> String {
    format!("oci:{}:latest", artifacts::dist("images").join(name).display())
}

/// `skopeo copy` of whatever is asked for.
pub fn copy(from: &str, to: &str) {
    run(skopeo_copy().args([from, to]));
}

fn skopeo_copy() -> Command {
    let mut command = Command::new("skopeo");
    command.args(["--insecure-policy", "copy", "--quiet"]);
    command
}

fn run(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn launch(dir: &Path, address: &str, login: bool) -> (Child, SocketAddr) {
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "info", "formatter": "text"},
        "storage": {"filesystem": {"rootdirectory": dir.join("data")}},
        "http": {"addr": address},
    });
    if login {
        config["auth"] = json!({"htpasswd": {"realm": "tests", "path": dir.join("htpasswd")}});
    }
    let path = dir.join("config.yml");
    // JSON is YAML.
    fs::write(&path, config.to_string()).unwrap();
    let out = File::create(log(dir)).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let address = wait::until("the registry listens", wait::seconds(60), || {
        let said = fs::read_to_string(log(dir)).unwrap();
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the registry ended: {said}");
        let (_, rest) = said.split_once("listening on ")?;
        rest.split(['"', ' ', '\n']).next()?.parse().ok()
    });
    (child, address)
}

fn log(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
