//! Images in files: what `docker save` writes, and tars of OCI layouts.

use std::fs::File;
use std::path::Path;

use postern_tests::layout::digest;
use postern_tests::registry::{copy, sample};
use postern_tests::{Rig, artifacts};
use serde_json::{Value, json};

fn says(rig: &Rig, image: &str, line: &str) -> String {
    rig.fresh(json!({"image": image})).say(line)
}

fn has_skopeo(test: &str) -> bool {
    let there = std::process::Command::new("skopeo").arg("--version").output().is_ok();
    if !there {
        println!("SKIPPED {test}: no skopeo; enable: apt-get install skopeo");
    }
    there
}

pub(crate) fn archives_of_docker_and_of_oci_run(rig: &Rig) {
    if !has_skopeo("archives_of_docker_and_of_oci_run") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).display().to_string();
    let docker = format!("docker-archive:{}", place("docker.tar"));
    copy(&sample("busybox"), &format!("{docker}:busybox:1.0"));
    let oci = format!("oci-archive:{}", place("oci.tar"));
    copy(&sample("busybox"), &format!("{oci}:v1"));
    for image in [
        docker.clone(),
        format!("{docker}:busybox:1.0"),
        format!("{docker}:docker.io/library/busybox:1.0"),
        oci.clone(),
        format!("{oci}:v1"),
    ] {
        assert_eq!(says(rig, &image, "echo it runs"), "it runs", "{image}");
    }
    for image in [format!("{docker}:busybox:2.0"), format!("{oci}:v2"), place("docker.tar")] {
        let refused = rig.make(json!({"image": image})).unwrap_err();
        assert_eq!(refused.error(400, "invalid_argument")["field"], "image");
    }
}

/// The layer of the sample image as a plain tar, and its config.
fn parts() -> (Vec<u8>, Value) {
    use std::io::Read;
    let dir = artifacts::dist("images").join("busybox");
    let read = |of: &Value| {
        let name = of["digest"].as_str().unwrap().replace(':', "/");
        std::fs::read(dir.join("blobs").join(name)).unwrap()
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0])).unwrap();
    let mut layer = Vec::new();
    let packed = read(&manifest["layers"][0]);
    flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut layer).unwrap();
    (layer, serde_json::from_slice(&read(&manifest["config"])).unwrap())
}

/// As dockers before 25 wrote it: a directory for each layer, a link where a
/// layer is there already.
fn save(path: &Path, layer: &[u8], config: &Value) {
    let config = config.to_string().into_bytes();
    let name = format!("{}.json", digest(&config).trim_start_matches("sha256:"));
    let id = "0".repeat(64);
    let manifest = json!([{"Config": name, "RepoTags": ["old:1"],
                           "Layers": [format!("{id}/layer.tar"), "again/layer.tar"]}]);
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add(&format!("{id}/VERSION"), b"1.0");
    add(&format!("{id}/layer.tar"), layer);
    add(&name, &config);
    add("manifest.json", manifest.to_string().as_bytes());
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "again/layer.tar", format!("../{id}/layer.tar")).unwrap();
    tar.finish().unwrap();
}

/// Two layers of the same bytes, and a word in the environment.
fn config(config: &Value, word: &str) -> Value {
    let mut config = config.clone();
    let diff_id = config["rootfs"]["diff_ids"][0].clone();
    config["rootfs"]["diff_ids"] = json!([diff_id, diff_id]);
    config["config"]["Env"].as_array_mut().unwrap().push(json!(format!("WORD={word}")));
    config
}

pub(crate) fn an_archive_of_an_old_docker_runs_and_is_read_again_when_it_changes(rig: &Rig) {
    let (layer, plain) = parts();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.tar");
    let image = format!("docker-archive:{}:old:1", path.display());
    save(&path, &layer, &config(&plain, "first"));
    assert_eq!(says(rig, &image, "echo $WORD"), "first");
    save(&path, &layer, &config(&plain, "second"));
    assert_eq!(says(rig, &image, "echo $WORD"), "second");
    // Without the file there is still what was read of it.
    std::fs::remove_file(&path).unwrap();
    let session = rig.fresh(json!({"image": image, "pull_policy": "never"}));
    assert_eq!(session.say("echo $WORD"), "second");
}

pub(crate) fn an_archive_that_is_not_what_it_says_makes_no_session(rig: &Rig) {
    let (mut layer, plain) = parts();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("evil.tar");
    let image = format!("docker-archive:{}", path.display());
    let refused = |why: &str| {
        let error = rig.make(json!({"image": image})).unwrap_err().error(400, "invalid_argument");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    };
    let at = layer.len() / 2;
    layer[at] ^= 1;
    save(&path, &layer, &config(&plain, "x"));
    refused("is not what its config says");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused("is cut off");
    std::fs::write(&path, [0x1f, 0x8b, 8, 0].repeat(1000)).unwrap();
    refused("is compressed");
    std::fs::write(&path, b"").unwrap();
    refused("has no");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("no regular file");
}
