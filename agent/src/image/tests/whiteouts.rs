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
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
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
        assert_eq!(
            (image.read("d/a"), image.read("other")),
            ("up".into(), "up".into())
        );
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
            matches!(
                image.try_layer(Tar::default().file(path, b"")),
                Err(Cause::Entry { .. })
            ),
            "{path}"
        );
        assert!(image.at("d/a").exists());
    }
}
