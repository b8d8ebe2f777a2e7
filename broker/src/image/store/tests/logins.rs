//! Logins, redirects and mirrors.

use serde_json::json;

use super::super::super::liar::{Liar, Reply};
use super::super::super::registry::RegistryOptions;
use super::super::super::{Digest, ImageError};
use super::{PLENTY, Rig, noise};

#[tokio::test]
async fn logins_by_token_and_by_password() {
    let liar = Liar::start().await;
    let host = liar.host.clone();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let login = json!({"auths": {&host: {"username": "me", "password": "right"}}});
    std::fs::write(&config, login.to_string()).unwrap();
    let options = RegistryOptions { docker_config: Some(config.clone()), ..Default::default() };
    let rig = Rig::with(PLENTY, options, liar);
    rig.liar.image("v1", &[b"layer"]);
    let manifest = rig.liar.reply_to("/v2/a/manifests/v1");

    // By token: the realm wants the password, the registry the token.
    let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
    let ask = Reply::status(401).header("www-authenticate", challenge);
    rig.liar.says("/v2/a/manifests/v1", ask);
    rig.liar.says("/v2/a/manifests/v1 Bearer t0", manifest.clone());
    let basic = "Basic bWU6cmlnaHQ=";
    rig.liar.says(&format!("/token {basic}"), Reply::new(r#"{"token":"t0"}"#));
    rig.liar.says("/token", Reply::status(401));
    rig.pull(":v1").await.unwrap();
    let asked = rig.liar.asked_for("/token?");
    assert!(asked[0].path.contains("service=s&scope=repository%3Aa%3Apull"), "{asked:?}");
    for (token, expected) in [
        ("{}".to_owned(), "gives none"),
        (json!({"token": "a\r\nX-Evil: b"}).to_string(), "gives none"),
        (" ".repeat(100_000), "more than 65536 bytes"),
    ] {
        rig.liar.says(&format!("/token {basic}"), Reply::new(token));
        let said = rig.refused(":v1").await;
        assert!(said.contains(expected), "{said}");
    }

    // By password; then a wrong one, and none.
    let ask = Reply::status(401).header("www-authenticate", "Basic realm=\"x\"");
    rig.liar.says("/v2/a/manifests/v1", ask);
    rig.liar.says(&format!("/v2/a/manifests/v1 {basic}"), manifest);
    rig.pull(":v1").await.unwrap();
    let wrong = json!({"auths": {&host: {"username": "me", "password": "wrong"}}});
    for config_text in [wrong.to_string(), "{}".to_owned()] {
        std::fs::write(&config, config_text).unwrap();
        let error = rig.pull(":v1").await.unwrap_err();
        assert!(matches!(error, ImageError::Denied { .. }), "{error}");
    }
}

#[tokio::test]
async fn whoever_is_redirected_to_learns_no_login() {
    let liar = Liar::start().await;
    let elsewhere = Liar::start().await;
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.json");
    let login = json!({"auths": {&liar.host: {"username": "me", "password": "right"}}});
    std::fs::write(&config, login.to_string()).unwrap();
    let options = RegistryOptions { docker_config: Some(config), ..Default::default() };
    let rig = Rig::with(PLENTY, options, liar);
    let layer = noise(9, 1000);
    rig.liar.image("v1", &[&layer]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&layer));
    let ask = Reply::status(401).header("www-authenticate", "Basic realm=\"x\"");
    rig.liar.says(&path, ask);
    let to = format!("http://{}/object?signature=1", elsewhere.host);
    let with_login = format!("{path} Basic bWU6cmlnaHQ=");
    rig.liar.says(&with_login, Reply::status(307).header("location", to));
    elsewhere.says("/object", Reply::new(layer));
    rig.pull(":v1").await.unwrap();
    let seen = elsewhere.seen();
    assert_eq!((seen.len(), &seen[0].authorization), (1, &None));
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_may_fail() {
    let (mirror, origin) = (Liar::start().await, Liar::start().await);
    let mirrors = vec![(origin.host.clone(), format!("http://{}/", mirror.host))];
    let options = RegistryOptions { mirrors, ..Default::default() };
    let rig = Rig::with(PLENTY, options, origin);
    mirror.image("v1", &[b"by the mirror"]);
    rig.pull(":v1").await.unwrap();
    assert_eq!(rig.liar.seen(), [], "the registry was asked");
    rig.liar.image("v2", &[b"by the registry"]);
    mirror.says("/v2/a/manifests/v2", Reply::status(500));
    rig.pull(":v2").await.unwrap();
    assert_eq!(mirror.asked_for("manifests/v2").len(), 1);
}
