//! Logins as docker keeps them: in `config.json`, or with a helper
//! (`docker-credential-NAME get`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::super::ImageError;

/// A file with logins to a thousand registries is far smaller.
const MAX_CONFIG: u64 = 1 << 20;

/// A helper may ask a keyring, a cloud, or somebody at a screen.
const HELPER_DEADLINE: Duration = Duration::from_secs(30);

/// What a helper says is a user and a password or token.
const MAX_HELPER: u64 = 256 << 10;

/// Under these docker keeps the login to `docker.io`.
const DOCKER_HUB_KEYS: [&str; 4] =
    ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io"];

/// What a helper says when it knows nothing, in place of an exit code of its own.
const NO_LOGIN: &str = "credentials not found";

/// By a helper's answer the `Secret` is a token that stands for the user.
const IDENTITY_USER: &str = "<token>";

/// Who we are to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    Anonymous,
    Password { user: String, password: String },
    Identity { token: String },
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Password { .. } => "Password",
            Self::Identity { .. } => "Identity",
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Login>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The login for a registry, from `file` or where docker has its own.
pub(super) async fn find(registry: &str, file: Option<&Path>) -> Result<Credentials, ImageError> {
    let problem = |problem: String, source| ImageError::Credentials {
        registry: registry.to_owned(),
        problem,
        source,
    };
    let Some(path) = file.map(Path::to_owned).or_else(usual_file) else {
        return Ok(Credentials::Anonymous);
    };
    let mut text = Vec::new();
    match tokio::fs::File::open(&path).await {
        Ok(opened) => {
            let read = opened.take(MAX_CONFIG).read_to_end(&mut text).await;
            read.map_err(|e| problem("reading docker's config.json".to_owned(), Some(e.into())))?;
        }
        // A file that the operator named has to be there.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && file.is_none() => {
            return Ok(Credentials::Anonymous);
        }
        Err(e) => return Err(problem("opening docker's config.json".to_owned(), Some(e.into()))),
    }
    let config: Config = serde_json::from_slice(&text)
        .map_err(|e| problem("docker's config.json is not valid".to_owned(), Some(e.into())))?;
    let keys = keys(registry);
    let own = keys.iter().find_map(|key| config.cred_helpers.get(*key).map(|name| (name, *key)));
    let store = config.creds_store.as_ref().map(|name| (name, keys[0]));
    if let Some((helper, key)) = own.or(store)
        && let Some(found) = ask(helper, key).await.map_err(|(text, e)| problem(text, e))?
    {
        return Ok(found);
    }
    in_file(&config, &keys).map_err(|text| problem(text, None))
}

/// Under what a registry's login may be kept, the usual one first.
fn keys(registry: &str) -> Vec<&str> {
    if DOCKER_HUB_KEYS.contains(&registry) { DOCKER_HUB_KEYS.to_vec() } else { vec![registry] }
}

fn in_file(config: &Config, keys: &[&str]) -> Result<Credentials, String> {
    let bare = |key: &str| {
        let key =
            key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let exact = keys.iter().find_map(|key| config.auths.get(*key));
    let close = || {
        let mut all = config.auths.iter();
        all.find(|(key, _)| keys.iter().any(|wanted| bare(key) == bare(wanted))).map(|(_, l)| l)
    };
    let Some(login) = exact.or_else(close) else { return Ok(Credentials::Anonymous) };
    if !login.identitytoken.is_empty() {
        return Ok(Credentials::Identity { token: login.identitytoken.clone() });
    }
    if !login.auth.is_empty() {
        let text = BASE64.decode(login.auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or("`auth` in docker's config.json is not user:password")?;
        // Old dockers padded it with zeros.
        let password = password.trim_end_matches('\0').to_owned();
        return Ok(Credentials::Password { user: user.to_owned(), password });
    }
    if login.username.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let (user, password) = (login.username.clone(), login.password.clone());
    Ok(Credentials::Password { user, password })
}

type Problem = (String, Option<Box<dyn std::error::Error + Send + Sync>>);

/// What a helper knows; None if it knows no login.
async fn ask(name: &str, key: &str) -> Result<Option<Credentials>, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || !name.chars().all(plain) {
        return Err((format!("{name:?} is no name of a helper"), None));
    }
    let program = format!("docker-credential-{name}");
    let failed = |doing: &str, e: std::io::Error| (format!("{doing} {program}"), Some(e.into()));
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed("starting", e))?;
    let asking = async {
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not listen may still answer.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_HELPER).read_to_end(&mut said).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, said))
    };
    let asked = tokio::time::timeout(HELPER_DEADLINE, asking).await;
    let asked = asked.map_err(|_| {
        (format!("{program} did not answer within {} s", HELPER_DEADLINE.as_secs()), None)
    })?;
    let (status, said) = asked.map_err(|e| failed("asking", e))?;
    if !status.success() {
        let known = String::from_utf8_lossy(&said).contains(NO_LOGIN);
        return if known { Ok(None) } else { Err((format!("{program} failed: {status}"), None)) };
    }
    let answer: Answer = serde_json::from_slice(&said)
        .map_err(|e| (format!("{program} does not answer in JSON"), Some(e.into())))?;
    Ok(Some(match answer.username.as_str() {
        IDENTITY_USER => Credentials::Identity { token: answer.secret },
        _ => Credentials::Password { user: answer.username, password: answer.secret },
    }))
}

fn usual_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let dir = match set("DOCKER_CONFIG") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(set("HOME")?).join(".docker"),
    };
    Some(dir.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(config: &str, registry: &str) -> Result<Credentials, ImageError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        find(registry, Some(&path)).await
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[tokio::test]
    async fn logins_of_a_file() {
        let auth = BASE64.encode("me:a:b");
        let config = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},
                "https://a.example/v2/":{{"username":"u","password":"p"}},
                "b.example:5000":{{"identitytoken":"t"}},"c.example":{{"auth":"%%"}},"d.example":{{}}}}}}"#
        );
        let found = async |registry| read(&config, registry).await.unwrap();
        assert_eq!(found("docker.io").await, password("me", "a:b"));
        assert_eq!(found("a.example").await, password("u", "p"));
        let identity = Credentials::Identity { token: "t".to_owned() };
        assert_eq!(found("b.example:5000").await, identity);
        assert_eq!(found("b.example").await, Credentials::Anonymous);
        assert_eq!(found("d.example").await, Credentials::Anonymous);
        assert!(read(&config, "c.example").await.is_err());
        assert!(read("{", "x").await.is_err());
        assert!(find("x", Some(Path::new("/nonexistent/config.json"))).await.is_err());
    }

    #[tokio::test]
    async fn a_helper_that_is_no_name_is_not_started() {
        for name in ["../x", "a b", "", "a/b"] {
            let config = format!(r#"{{"credsStore":"{name}"}}"#);
            assert!(read(&config, "a.example").await.is_err(), "{name}");
        }
        let missing = read(r#"{"credHelpers":{"a.example":"postern-none"}}"#, "a.example").await;
        assert!(missing.unwrap_err().to_string().contains("docker-credential-postern-none"));
    }
}
