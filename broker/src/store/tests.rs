//! What survives, and who is refused.

use super::*;

fn session(id: &str) -> NewSession {
    NewSession { id: id.to_owned(), created_us: 7, status: "starting", settings: "{}".to_owned() }
}

#[tokio::test]
async fn a_session_is_read_back_as_it_was_written_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for id in ["b", "a", "c"] {
        store.add_session(session(id)).await.unwrap();
    }
    assert!(store.add_session(session("a")).await.is_err(), "one id, two sessions");
    store.set_sandbox("a", "box".to_owned()).await.unwrap();
    store.set_ready("a", "boot".to_owned()).await.unwrap();
    store.set_status("b", "draining").await.unwrap();
    store.set_ready("b", "too late".to_owned()).await.unwrap();
    store.set_instances("a", "[1]".to_owned()).await.unwrap();
    store.set_sandbox("b", "gone".to_owned()).await.unwrap();
    store.set_ended("b", "failed", "why".to_owned()).await.unwrap();
    store.forget(vec!["c".to_owned(), "never was".to_owned()]).await.unwrap();
    drop(store);
    let rows = Store::open(dir.path()).unwrap().sessions().await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"], "the order of their making");
    let wanted = SessionRow {
        id: "a".to_owned(),
        created_us: 7,
        status: "running".to_owned(),
        reason: None,
        settings: "{}".to_owned(),
        sandbox: Some("box".to_owned()),
        boot: Some("boot".to_owned()),
        instances: "[1]".to_owned(),
    };
    assert_eq!(rows[1], wanted);
    let b = &rows[0];
    assert_eq!((b.status.as_str(), b.reason.as_deref()), ("failed", Some("why")));
    assert_eq!((b.sandbox.as_deref(), b.boot.as_deref()), (None, None));
}

#[test]
fn epochs_go_up_also_when_the_clock_went_back_and_the_key_stays() {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection, Path::new("x")).unwrap();
    let (first, key) = schema::next_epoch(&mut connection, 1000).unwrap();
    let (back, same) = schema::next_epoch(&mut connection, 5).unwrap();
    let (later, _) = schema::next_epoch(&mut connection, 5000).unwrap();
    assert_eq!((first, back, later), (1000, 1001, 5000));
    assert_eq!(key, same);
    assert_ne!(key, Key::default());
}

#[test]
fn a_second_broker_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    let own = std::process::id();
    assert!(matches!(refused, StoreError::Taken { pid: Some(pid), .. } if pid == own));
    let text = refused.to_string();
    assert!(text.starts_with(&format!("another broker (pid {own}) uses")), "{text}");
    let epoch = first.epoch();
    drop(first);
    assert!(Store::open(dir.path()).unwrap().epoch() > epoch);
}

#[test]
fn a_store_of_a_newer_postern_and_one_that_is_none_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let file = dir.path().join(FILE);
    let connection = Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");

    let other = tempfile::tempdir().unwrap();
    let file = other.path().join(FILE);
    std::fs::write(&file, [b'x'; 4096]).unwrap();
    let refused = Store::open(other.path()).unwrap_err();
    assert!(refused.to_string().contains("postern.db"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), [b'x'; 4096]);
}

#[tokio::test]
async fn a_store_from_before_there_were_images_gets_a_place_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.add_session(session("a")).await.unwrap();
    drop(store);
    let old = Connection::open(dir.path().join(FILE)).unwrap();
    old.execute_batch("DROP TABLE images; PRAGMA user_version = 1;").unwrap();
    drop(old);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.sessions().await.unwrap().len(), 1);
    let row = |name: &str, used_us| ImageRow {
        name: name.to_owned(),
        digest: "d".to_owned(),
        manifest: "m".to_owned(),
        blobs: "[]".to_owned(),
        stamp: None,
        pulled_us: 1,
        used_us,
    };
    for (name, used_us) in [("x", 5), ("y", 4), ("z", 6), ("x", 3)] {
        store.put_image(row(name, used_us)).await.unwrap();
    }
    store.touch_image("y", 9).await.unwrap();
    assert!(store.remove_image("z").await.unwrap() && !store.remove_image("z").await.unwrap());
    assert_eq!(store.images().await.unwrap(), [row("x", 3), row("y", 9)]);
    assert_eq!(store.image("x").await.unwrap(), Some(row("x", 3)));
}
