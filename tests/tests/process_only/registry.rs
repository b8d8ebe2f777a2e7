//! Images of a real registry.

use std::path::Path;
use std::process::Command;

use postern_tests::gate::Gate;
use postern_tests::http::Http;
use postern_tests::registry::{LOGIN, Registry, sample};
use postern_tests::{Answer, Broker, Rig, artifacts};
use serde_json::{Value, json};

use super::daemon::{Daemon, command};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Past the manifests and into the layer of the Debian image.
const MIDDLE: u64 = 10 << 20;

fn runs(rig: &Rig, image: &str) {
    let session = rig.fresh(json!({"image": image}));
    assert_eq!(session.info["image"], image);
    assert_eq!(session.say("echo it runs"), "it runs");
}

fn pull(http: &Http, image: &str) -> Answer {
    let body = json!({"image": image}).to_string();
    Answer::of(http.send("POST", "/v1/images", &[], body.as_bytes()).unwrap())
}

pub(crate) fn an_image_runs_by_tag_by_digest_and_by_an_index_of_platforms(rig: &Rig) {
    let Some(registry) = Registry::start("an_image_runs_by_tag") else { return };
    registry.push(&sample("busybox"), "tools/busybox:1");
    let name = format!("{}/tools/busybox", registry.address);
    runs(rig, &format!("{name}:1"));
    let (manifest, digest) = registry.manifest("tools/busybox", "1");
    runs(rig, &format!("{name}@{digest}"));

    // The other platform's is another document of the same blobs.
    let mut foreign = manifest.clone();
    foreign["annotations"] = json!({"for": "another machine"});
    registry.put("tools/busybox", "foreign", MANIFEST, &foreign);
    let (_, foreign_digest) = registry.manifest("tools/busybox", "foreign");
    let entry = |digest: &str, document: &Value, architecture: &str| {
        json!({"mediaType": MANIFEST, "digest": digest, "size": document.to_string().len(),
               "platform": {"os": "linux", "architecture": architecture}})
    };
    let mut ours = entry(&digest, &manifest, "amd64");
    ours["size"] = size_of(&registry, &digest).into();
    let entries = [entry(&foreign_digest, &foreign, "riscv64"), ours];
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    registry.put("tools/busybox", "many", INDEX, &index);
    runs(rig, &format!("{name}:many"));
    let path = format!("/v1/images/{name}:many");
    let detail = Answer::of(rig.broker().http.send("GET", &path, &[], b"").unwrap()).ok();
    assert_eq!(detail["manifest"], digest);
    assert_eq!(detail["layers"][0]["digest"], manifest["layers"][0]["digest"]);

    let missing = rig.make(json!({"image": format!("{name}:none")})).unwrap_err();
    let missing = missing.error(404, "not_found");
    assert_eq!(missing["field"], "image");
}

fn size_of(registry: &Registry, digest: &str) -> u64 {
    let path = format!("/v2/tools/busybox/manifests/{digest}");
    let mut answer =
        Http::new(registry.address).send("GET", &path, &[("Accept", MANIFEST)], b"").unwrap();
    answer.whole().unwrap().len() as u64
}

pub(crate) fn a_pull_policy_says_when_the_registry_is_asked(rig: &Rig) {
    let Some(mut registry) = Registry::start("a_pull_policy") else { return };
    registry.push(&sample("busybox"), "busybox:1");
    let image = format!("{}/busybox:1", registry.address);
    let make = |policy: &str| rig.make(json!({"image": image, "pull_policy": policy}));
    let never = make("never").unwrap_err().error(404, "not_found");
    assert!(never["message"].as_str().unwrap().contains("never"), "{never}");
    make("missing").unwrap();
    registry.kill();
    make("missing").unwrap();
    make("never").unwrap();
    make("always").unwrap_err().error(503, "unavailable");
    make("sometimes").unwrap_err().error(400, "invalid_argument");
    registry.start_again();
    make("always").unwrap();
    let asked = registry.requests();
    assert!(asked.iter().any(|line| line.contains("/manifests/1")), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("/blobs/")), "{asked:?}");
}

/// A daemon with settings, and what it is to find in its environment.
fn daemon(dir: &Path, settings: &str, path: &str) -> Daemon {
    let file = dir.join("postern.toml");
    std::fs::write(&file, settings).unwrap();
    let data = dir.join("data");
    let mut command = command(&data, &["--config", file.to_str().unwrap()]);
    Daemon::start_by(std::mem::replace(command.env("PATH", path), Command::new("true")), &data)
}

pub(crate) fn a_wrong_password_is_refused_and_the_right_one_lets_in(_: &Rig) {
    let Some(registry) = Registry::with_login("a_wrong_password") else { return };
    registry.push(&sample("busybox"), "busybox:1");
    let image = format!("{}/busybox:1", registry.address);
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let config = dir.path().join("config.json");
    let login = |password: &str| {
        let auth = {
            use base64::Engine as _;
            let text = format!("{}:{password}", LOGIN.0);
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let host = registry.address.to_string();
        std::fs::write(&config, json!({"auths": {host: {"auth": auth}}}).to_string()).unwrap();
    };
    login("wrong");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let settings = format!("docker_config = {:?}", config.to_str().unwrap());
    let daemon = daemon(dir.path(), &settings, &path);
    let refused = pull(&daemon.http, &image).error(403, "permission_denied");
    assert_eq!(refused["field"], "image");
    assert!(!refused.to_string().contains("wrong"), "the password is told: {refused}");
    std::fs::write(&config, "{}").unwrap();
    pull(&daemon.http, &image).error(403, "permission_denied");
    login(LOGIN.1);
    let pulled = pull(&daemon.http, &image).ok();
    assert_eq!(pulled["name"], image);

    // The same by a helper, which is asked for this registry alone.
    let helper = dir.path().join("docker-credential-tests");
    let script = format!(
        "#!/bin/sh\nread -r host\n[ \"$1 $host\" = \"get {}\" ] || exit 1\necho '{}'\n",
        registry.address,
        json!({"ServerURL": "", "Username": LOGIN.0, "Secret": LOGIN.1}),
    );
    std::fs::write(&helper, script).unwrap();
    executable(&helper);
    let host = registry.address.to_string();
    std::fs::write(&config, json!({"credHelpers": {host: "tests"}}).to_string()).unwrap();
    pull(&daemon.http, &image).ok();
    std::fs::write(&helper, "#!/bin/sh\necho broken >&2\nexit 1\n").unwrap();
    let broken = pull(&daemon.http, &image).error(409, "failed_precondition");
    assert!(broken["message"].as_str().unwrap().contains("docker-credential-tests"), "{broken}");
    daemon.terminate();
}

fn executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn a_mirror_stands_in_for_its_registry(_: &Rig) {
    let Some(registry) = Registry::start("a_mirror") else { return };
    registry.push(&sample("busybox"), "library/busybox:1");
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let settings = format!("[mirrors]\n\"docker.io\" = \"http://{}\"", registry.address);
    let daemon = daemon(dir.path(), &settings, &std::env::var("PATH").unwrap());
    // By the names that people use for Docker Hub's.
    for image in ["busybox:1", "docker://busybox:1", "docker.io/library/busybox:1"] {
        assert_eq!(pull(&daemon.http, image).ok()["name"], "docker.io/library/busybox:1");
    }
    daemon.terminate();
}

pub(crate) fn a_registry_killed_in_mid_blob_is_resumed(_: &Rig) {
    let Some(mut registry) = Registry::start("a_registry_killed_in_mid_blob") else { return };
    registry.push(&sample("debian"), "debian:1");
    let gate = Gate::start(registry.address, MIDDLE);
    let image = format!("{}/debian:1", gate.address());
    let broker = Broker::start("registry-killed");
    let http = broker.http;
    let pulling = std::thread::spawn(move || pull(&http, &image));
    gate.wait_until_it_holds();
    registry.kill();
    gate.open();
    registry.start_again();
    pulling.join().unwrap().ok();
    was_resumed(&registry);
    leaves_nothing(&broker);
}

pub(crate) fn a_broker_killed_in_mid_pull_goes_on_where_it_was(_: &Rig) {
    let Some(registry) = Registry::start("a_broker_killed_in_mid_pull") else { return };
    registry.push(&sample("debian"), "debian:1");
    let gate = Gate::start(registry.address, MIDDLE);
    let image = format!("{}/debian:1", gate.address());
    let broker = Broker::start("killed-in-mid-pull");
    let (http, name) = (broker.http, image.clone());
    let pulling = std::thread::spawn(move || {
        let body = json!({"image": name}).to_string();
        http.send("POST", "/v1/images", &[], body.as_bytes()).is_err()
    });
    gate.wait_until_it_holds();
    broker.kill();
    assert!(pulling.join().unwrap(), "a killed broker has answered");
    gate.open();
    broker.start_again();
    let listed = Answer::of(broker.http.send("GET", "/v1/images", &[], b"").unwrap()).ok();
    let listed = listed["images"].as_array().unwrap();
    assert!(listed.iter().all(|i| i["name"] != image.as_str()), "half an image is listed");
    pull(&broker.http, &image).ok();
    was_resumed(&registry);
    leaves_nothing(&broker);
}

/// A file system of its own, of a size that can be changed.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir(at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=20m", "tests"];
        let mounted = Command::new("mount").args(options).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(at))
    }

    fn grow(&self) {
        let done = Command::new("mount").args(["-o", "remount,size=200m"]).arg(self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

pub(crate) fn a_full_disk_ends_the_pull_and_the_next_one_works(_: &Rig) {
    let Some(registry) = Registry::start("a_full_disk_ends_the_pull") else { return };
    registry.push(&sample("debian"), "debian:1");
    let image = format!("{}/debian:1", registry.address);
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let disk = dir.path().join("disk");
    let Some(small) = Small::mount(&disk) else {
        println!("SKIPPED a_full_disk_ends_the_pull: no tmpfs can be mounted; enable: run as root");
        return;
    };
    let settings = format!("image_store = {:?}", disk.join("images").to_str().unwrap());
    let daemon = daemon(dir.path(), &settings, &std::env::var("PATH").unwrap());
    let full = pull(&daemon.http, &image).error(429, "resource_exhausted");
    assert!(full["message"].as_str().unwrap().contains("full"), "{full}");
    let partial = || std::fs::read_dir(disk.join("images/partial")).unwrap().count();
    assert_eq!(partial(), 0, "what was begun still fills the disk");
    small.grow();
    pull(&daemon.http, &image).ok();
    assert_eq!(partial(), 0);
    daemon.terminate();
}

pub(crate) fn a_pull_tells_how_far_each_layer_is(_: &Rig) {
    let Some(registry) = Registry::start("a_pull_tells_how_far") else { return };
    registry.push(&sample("debian"), "debian:1");
    let image = format!("{}/debian:1", registry.address);
    let broker = Broker::start("pull-tells");
    let body = json!({"image": image}).to_string();
    let headers = [("Accept", "text/event-stream")];
    let mut answer = broker.http.send("POST", "/v1/images", &headers, body.as_bytes()).unwrap();
    let text = String::from_utf8(answer.whole().unwrap()).unwrap();
    let of = |event: &str| -> Vec<Value> {
        let prefix = format!("event: {event}\ndata: ");
        let data = text.split("\n\n").filter_map(|block| block.strip_prefix(&prefix));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    };
    let steps: Vec<_> = of("progress").into_iter().filter(|s| s["stage"] == "pulling").collect();
    let have: Vec<u64> = steps.iter().map(|s| s["layers"][0]["have"].as_u64().unwrap()).collect();
    assert!(have.len() > 1 && have.is_sorted(), "{text}");
    let size = steps[0]["layers"][0]["size"].as_u64().unwrap();
    assert!(size > 1 << 20 && have.iter().all(|have| *have <= size), "{text}");
    assert_eq!((of("image").len(), of("error").len()), (1, 0), "{text}");
    assert_eq!(of("image")[0]["name"], image);

    let gone = json!({"image": format!("{image}2")}).to_string();
    let mut answer = broker.http.send("POST", "/v1/images", &headers, gone.as_bytes()).unwrap();
    let text = String::from_utf8(answer.whole().unwrap()).unwrap();
    assert!(text.contains("event: error\n") && text.contains("\"not_found\""), "{text}");
}

fn was_resumed(registry: &Registry) {
    let requests = registry.requests();
    let resumed = |line: &&String| line.contains("/blobs/") && line.contains("\" 206 ");
    assert!(requests.iter().any(|line| resumed(&line)), "no range was asked for: {requests:#?}");
}

fn leaves_nothing(broker: &Broker) {
    let partial = std::fs::read_dir(broker.data().join("images/partial")).unwrap();
    assert_eq!(partial.count(), 0);
}

pub(crate) fn images_on_the_command_line(rig: &Rig) {
    let Some(registry) = Registry::start("images_on_the_command_line") else { return };
    registry.push(&sample("busybox"), "busybox:cli");
    let image = format!("{}/busybox:cli", registry.address);
    let postern = |arguments: &[&str]| {
        let url = format!("http://{}", rig.broker().http.authority());
        let mut command = Command::new(artifacts::dist("postern"));
        let done = command.env("POSTERN_URL", url).arg("images").args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, out, err) = postern(&["pull", &image]);
    assert_eq!((code, out.starts_with("sha256:")), (Some(0), true), "{out}{err}");
    let (_, listed, _) = postern(&[]);
    assert!(listed.contains(&image) && listed.contains("busybox "), "{listed}");
    let (_, json, _) = postern(&["ls", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let found = json.as_array().unwrap().iter().find(|i| i["name"] == image.as_str()).unwrap();
    assert_eq!((&found["source"], found["digest"].as_str()), (&json!("store"), Some(out.trim())));
    let (_, detail, _) = postern(&["inspect", &image]);
    let detail: Value = serde_json::from_str(&detail).unwrap();
    assert!(detail["layers"][0]["size"].as_u64().unwrap() > 0, "{detail}");
    assert_eq!(postern(&["rm", &image]), (Some(0), format!("{image}\n"), String::new()));
    let (code, _, err) = postern(&["rm", &image]);
    assert_eq!((code, err.contains("not in the store")), (Some(125), true), "{err}");
    let (code, _, err) = postern(&["pull", "busybox"]);
    assert_eq!((code, err.contains("not pulled")), (Some(125), true), "{err}");
    let (code, out, _) = postern(&["prune", "--json"]);
    let pruned: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &pruned["removed"]), (Some(0), &json!([])), "{out}");
}
