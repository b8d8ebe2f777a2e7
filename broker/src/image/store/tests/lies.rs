//! Answers that no honest registry gives.

use serde_json::json;

use super::super::super::Digest;
use super::super::super::liar::{INDEX, MANIFEST, Reply};
use super::{PLENTY, Rig, noise};

#[tokio::test]
async fn lies_about_blobs_are_told_and_leave_nothing() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(7, 100_000);
    rig.liar.image("v1", &[&layer]);
    let path = format!("/v2/a/blobs/{}", Digest::of(&layer));
    let mut other = layer.clone();
    other[99_999] ^= 1;
    let mut longer = layer.clone();
    longer.push(0);
    let cases = [
        ("other bytes", Reply::new(other), "it gives sha256:"),
        ("a byte more", Reply::new(longer), "longer than its 100000 bytes"),
        ("no end", Reply { endless: true, ..Reply::new(layer.clone()) }, "longer than its"),
        ("elsewhere", Reply::status(302).header("location", "ftp://x/"), "no http"),
        ("nowhere", Reply::status(302), "to nowhere"),
        ("in circles", Reply::status(307).header("location", path.clone()), "more than 5 times"),
        ("no such blob", Reply::status(404), "has no a/blobs/"),
        ("not for us", Reply::status(403), "refuses access"),
    ];
    for (name, reply, expected) in cases {
        rig.liar.says(&path, reply);
        let said = rig.refused(":v1").await;
        assert!(said.contains(expected), "{name}: {said}");
        rig.leaves_nothing();
    }
    assert_eq!(rig.images.list().await.unwrap(), []);
}

#[tokio::test]
async fn lies_about_ranges_are_told() {
    let rig = Rig::new(PLENTY).await;
    let layer = noise(8, 100_000);
    rig.liar.image("v1", &[&layer]);
    let digest = Digest::of(&layer);
    let partial = rig.dir.path().join("images/partial").join(digest.hex());
    std::fs::write(&partial, &layer[..50_000]).unwrap();
    let wrong = Reply { status: 206, ..Reply::new(&layer[10..]) };
    let wrong = wrong.header("content-range", "bytes 10-99999/100000");
    rig.liar.says(&format!("/v2/a/blobs/{digest}"), wrong);
    let said = rig.refused(":v1").await;
    assert!(said.contains("asked for bytes from 50000 on, it gives some from Some(10)"), "{said}");
}

#[tokio::test]
async fn lies_about_manifests_are_told() {
    let rig = Rig::new(PLENTY).await;
    let good = rig.liar.image("v1", &[b"layer"]);
    let manifest = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = good.clone();
        change(&mut manifest);
        Reply::new(manifest.to_string()).header("content-type", MANIFEST)
    };
    let both = manifest(&|m| m["manifests"] = json!([]));
    let as_index = Reply::new(good.to_string()).header("content-type", INDEX);
    let huge = vec![b' '; (4 << 20) + 1];
    let claims = manifest(&|_| {}).header("docker-content-digest", Digest::of(b"x").to_string());
    let bad_digest = manifest(&|m| m["layers"][0]["digest"] = "sha256:../../../etc/passwd".into());
    let sha512 =
        manifest(&|m| m["layers"][0]["digest"] = format!("sha512:{}", "a".repeat(128)).into());
    let big_config = manifest(&|m| m["config"]["size"] = json!(5 << 20));
    let many = manifest(&|m| m["layers"] = json!(vec![m["layers"][0].clone(); 600]));
    let whole = manifest(&|m| m["layers"][0]["size"] = json!(u64::MAX));
    let cases = [
        ("huge", Reply::new(huge.clone()), "more than 4194304 bytes"),
        ("endless", Reply { endless: true, ..Reply::new(huge) }, "more than 4194304 bytes"),
        ("no json", Reply::new("x").header("content-type", MANIFEST), "no document"),
        ("unknown", Reply::new("{}").header("content-type", "text/html"), "not known"),
        ("both", both, "not of the kind"),
        ("as index", as_index, "not of the kind"),
        ("other digest", claims, "names a manifest"),
        ("bad digest", bad_digest, ""),
        ("sha512", sha512, "only sha256"),
        ("big config", big_config, "too long a config"),
        ("many layers", many, "too many layers"),
        ("size over all", whole, "holds 1073741824 at most"),
        (
            "terminal",
            Reply { status: 418, ..Reply::new("{\"errors\":[{\"message\":\"\\u001b[2J\"}]}") },
            "\u{fffd}[2J",
        ),
    ];
    for (name, reply, expected) in cases {
        rig.liar.says("/v2/a/manifests/v1", reply);
        let said = rig.refused(":v1").await;
        assert!(said.contains(expected), "{name}: {said}");
    }
    let digest = Digest::of(b"something else");
    rig.liar.says(&format!("/v2/a/manifests/{digest}"), Reply::new(good.to_string()));
    let said = rig.refused(&format!("@{digest}")).await;
    assert!(said.contains(&format!("asked for the manifest {digest}")), "{said}");
    rig.leaves_nothing();
}

#[tokio::test]
async fn an_index_in_an_index_in_an_index_is_refused() {
    let rig = Rig::new(PLENTY).await;
    let mut inner = rig.liar.image("v1", &[b"layer"]);
    let mut kind = MANIFEST;
    for depth in 0..4 {
        let (text, tag) = (inner.to_string(), format!("depth{depth}"));
        rig.liar.document(&tag, kind, &inner);
        let entry = json!({"mediaType": kind, "digest": Digest::of(text.as_bytes()).as_str(),
                           "size": text.len()});
        inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
        kind = INDEX;
    }
    rig.pull(":depth2").await.unwrap();
    assert!(rig.refused(":depth3").await.contains("nests an index"));
}
