//! What a layer hides of the ones below it.

use super::*;

fn lower() -> Image {
    let mut image = Image::new();
    image.layer(
        Tar::default()
            .dir("d")
            .file("d/a", b"low")
            .file("d/b", b"low")
            .dir("d/sub")
            .file("d/sub/x", b"low")
            .file("other", b"low"),
    );
    image
}

#[test]
fn hide_one_name_or_a_whole_tree() {
    let mut image = lower();
    image.layer(
        Tar::default()
            .file("d/.wh.a", b"")
            .file(".wh.other", b"")
            .file(".wh.never-was", b"")
            .file("no/such/.wh.dir", b""),
    );
    assert_eq!(image.tree(), ["d", "d/b", "d/sub", "d/sub/x"]);
    image.layer(Tar::default().file(".wh.d", b""));
    assert_eq!(image.tree(), [""; 0]);
}

#[test]
fn hide_what_lies_below_and_not_what_the_layer_brings_in_any_order() {
    let upper: [fn(Tar) -> Tar; 3] = [
        |t| t.file("d/.wh..wh..opq", b""),
        |t| t.file("d/new", b"up"),
        |t| t.file("d/sub/deep/y", b"up"),
    ];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut image = lower();
        image.layer(order.iter().fold(Tar::default(), |tar, i| upper[*i](tar)));
        assert_eq!(
            image.tree(),
            ["d", "d/new", "d/sub", "d/sub/deep", "d/sub/deep/y", "other"],
            "{order:?}"
        );
    }
    for marked_first in [true, false] {
        let mut image = lower();
        let mark = |tar: Tar| tar.file(".wh.d", b"").file(".wh.other", b"");
        let make = |tar: Tar| tar.file("d/a", b"up").file("other", b"up");
        image.layer(if marked_first {
            make(mark(Tar::default()))
        } else {
            mark(make(Tar::default()))
        });
        assert_eq!(image.tree(), ["d", "d/a", "other"]);
        assert_eq!((image.read("d/a"), image.read("other")), ("up".into(), "up".into()));
    }
}

#[test]
fn reach_through_symlinks_inside_the_root_only() {
    let mut image = lower();
    image.layer(Tar::default().symlink("to-d", "/d").symlink("out", "../.."));
    image.layer(
        Tar::default()
            .file("d/a", b"up")
            .file("to-d/.wh..wh..opq", b"")
            .file("out/.wh.outside", b""),
    );
    assert_eq!(image.tree(), ["d", "d/a", "other", "out", "to-d"]);
    image.layer(Tar::default().file(".wh.to-d", b""));
    assert!(image.at("d/a").exists());
}

#[test]
fn of_the_first_layer_hide_nothing_and_bookkeeping_means_nothing() {
    let mut image = Image::new();
    image.layer(
        Tar::default()
            .file("d/a", b"1")
            .file("d/.wh..wh..opq", b"")
            .file("d/.wh.a", b"")
            .dir(".wh..wh.plnk")
            .file(".wh..wh.plnk/1.2", b"")
            .file(".wh..wh.aufs", b""),
    );
    assert_eq!(image.tree(), ["d", "d/a"]);
}

#[test]
fn of_no_name_are_refused() {
    for path in [".wh.", "d/.wh..", ".wh...", ".wh.x/y"] {
        let mut image = lower();
        assert!(
            matches!(image.try_layer(Tar::default().file(path, b"")), Err(Cause::Entry { .. })),
            "{path}"
        );
        assert!(image.at("d/a").exists());
    }
}

mod model {
    //! Layers of random entries and marks in random order, against what the
    //! format says the outcome is: the marks on what lies below, then the entries.

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        File(String),
        Dir(String),
        Hide(String),
        Opaque(String),
    }

    /// Directories are called `d` and `e`, files `f` and `g`, so that no file
    /// stands where a directory is due.
    fn dir() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["d", "e"], 1..4).prop_map(|parts| parts.join("/"))
    }

    fn file() -> impl Strategy<Value = String> {
        (dir(), prop_oneof!["f", "g"]).prop_map(|(dir, name)| format!("{dir}/{name}"))
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => file().prop_map(Op::File),
            2 => dir().prop_map(Op::Dir),
            1 => file().prop_map(Op::Hide),
            1 => dir().prop_map(Op::Hide),
            1 => dir().prop_map(Op::Opaque),
        ]
    }

    fn expect(tree: &mut BTreeSet<String>, layer: &[Op], first: bool) {
        for op in layer.iter().filter(|_| !first) {
            match op {
                Op::Hide(path) => {
                    let below = format!("{path}/");
                    tree.retain(|p| p != path && !p.starts_with(&below));
                }
                Op::Opaque(path) => {
                    let below = format!("{path}/");
                    tree.retain(|p| !p.starts_with(&below));
                }
                Op::File(_) | Op::Dir(_) => {}
            }
        }
        for op in layer {
            if let Op::File(path) | Op::Dir(path) = op {
                tree.insert(path.clone());
                tree.extend(path.match_indices('/').map(|(at, _)| path[..at].to_owned()));
            }
        }
    }

    fn write(tar: Tar, op: &Op) -> Tar {
        match op {
            Op::File(path) => tar.file(path, b"x"),
            Op::Dir(path) => tar.dir(path),
            Op::Hide(path) => match path.rsplit_once('/') {
                Some((parent, name)) => tar.file(&format!("{parent}/.wh.{name}"), b""),
                None => tar.file(&format!(".wh.{path}"), b""),
            },
            Op::Opaque(path) => tar.file(&format!("{path}/.wh..wh..opq"), b""),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn layers_give_the_tree_that_the_format_says(
            layers in proptest::collection::vec(proptest::collection::vec(op(), 0..12), 1..5)
        ) {
            let mut image = Image::new();
            let mut tree = BTreeSet::new();
            for (index, layer) in layers.iter().enumerate() {
                image.layer(layer.iter().fold(Tar::default(), write));
                expect(&mut tree, layer, index == 0);
                prop_assert_eq!(image.tree(), tree.iter().cloned().collect::<Vec<_>>());
            }
        }
    }
}
