//! `docs/complaints.md` names tests: each must be there.

use std::path::{Path, PathBuf};

/// Below the root of the workspace.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files that may hold a scenario's module, or a unit test's.
fn candidates(module: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let unit = module.replace("::", "/");
    ["scenarios", "vm_only", "process_only"]
        .iter()
        .map(|folder| root.join("tests/tests").join(folder).join(format!("{module}.rs")))
        .chain(["agent", "broker"].map(|part| root.join(part).join(format!("src/{unit}.rs"))))
        .collect()
}

#[test]
fn every_test_that_the_document_names_is_there_and_runs() {
    let text = read("docs/complaints.md");
    let lists = ["tests/tests/process.rs", "tests/tests/vm.rs", "tests/tests/scenarios/mod.rs"];
    let lists = lists.map(read).concat();
    let quoted = text.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted.filter(|quoted| quoted.contains("::")).collect();
    assert!(names.len() > 50, "{} names", names.len());
    for name in names {
        let (module, test) = name.rsplit_once("::").unwrap();
        let found = candidates(module).into_iter().find(|path| {
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("fn {test}(")))
        });
        let found = found.unwrap_or_else(|| panic!("{name} is no test"));
        let unit = found.components().any(|part| part.as_os_str() == "src");
        let listed = lists.contains(&format!("{test},")) || lists.contains(&format!("{test};"));
        assert!(unit || listed, "{name} is in no list");
    }
}
