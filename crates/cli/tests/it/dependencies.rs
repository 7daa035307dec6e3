//! What `docs/DEPENDENCIES.md` says of the manifests, and where `unsafe` may stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// What the kernel offers and no safe wrapper knows, and allocators that count.
const MAY_BE_UNSAFE: [&str; 6] = [
    "crates/core/tests/bombs.rs",
    "crates/loadgen/tests/allocations.rs",
    "crates/probe/src/connection.rs",
    "crates/probe/src/namespace.rs",
    "crates/probe/src/spinners.rs",
    "crates/server/tests/allocations.rs",
];
/// Written so that this file does not hold what it looks for.
const KEYWORD: &str = concat!("un", "safe");
/// What follows the keyword in code, but not in a sentence.
const NEXT: [&str; 6] = ["{", "(", "fn ", "impl ", "extern ", "trait "];

#[test]
fn each_dependency_has_a_row_that_agrees_with_the_manifests() {
    let root = root();
    let page = fs::read_to_string(root.join("docs/DEPENDENCIES.md")).unwrap();
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    assert!(rows.is_sorted(), "in the order of the alphabet");
    let documented: BTreeSet<_> = rows.iter().cloned().collect();
    assert_eq!(documented.len(), rows.len(), "a row stands there twice");
    let declared = declared(&root);
    let missing: Vec<_> = declared.difference(&documented).collect();
    let wrong: Vec<_> = documented.difference(&declared).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "docs/DEPENDENCIES.md lacks {missing:#?} and has instead {wrong:#?}"
    );
}

#[test]
fn manifests_inherit_all_their_dependencies() {
    for (name, manifest) in manifests(&root()) {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let all = kinds
            .iter()
            .filter_map(|kind| manifest.get(*kind)?.as_table());
        for (dependency, value) in all.flatten() {
            let is_inherited = value.get("workspace").and_then(toml::Value::as_bool);
            assert_eq!(is_inherited, Some(true), "{name}: {dependency}");
        }
        assert!(!manifest.contains_key("target"), "{name}: for one platform");
    }
}

#[test]
fn only_few_files_hold_what_the_compiler_cannot_check() {
    let root = root();
    let found: BTreeSet<String> = sources(&root.join("crates"))
        .into_iter()
        .filter(|path| is_unchecked(&fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
        .collect();
    assert_eq!(found, BTreeSet::from(MAY_BE_UNSAFE.map(str::to_owned)));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn table(path: &Path) -> Table {
    fs::read_to_string(path).unwrap().parse().unwrap()
}

/// A dependency: its name, version and users.
type Row = [String; 3];

/// Reads a row of five cells, of which the first is a name in backticks.
fn row(line: &str) -> Option<Row> {
    let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [name, version, users, what, without, ""] = cells[..] else {
        return None;
    };
    let name = name.strip_prefix('`')?.strip_suffix('`')?;
    assert!(!what.is_empty() && !without.is_empty(), "{name}: no reason");
    Some([name, version, users].map(str::to_owned))
}

/// Returns all dependencies that are not of this workspace.
fn declared(root: &Path) -> BTreeSet<Row> {
    let workspace = table(&root.join("Cargo.toml"));
    let manifests = manifests(root);
    let all = workspace["workspace"]["dependencies"].as_table().unwrap();
    all.iter()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, value)| {
            let version = value.get("version").unwrap_or(value).as_str().unwrap();
            [name, version, &users(&manifests, name)].map(str::to_owned)
        })
        .collect()
}

/// Returns the workspace's crates that use a dependency: `core, report; tests: cli`.
fn users(manifests: &BTreeMap<String, Table>, dependency: &str) -> String {
    let of_kind = |kind: &str| {
        let uses = |manifest: &Table| {
            manifest
                .get(kind)
                .is_some_and(|all| all.get(dependency).is_some())
        };
        let names = manifests.iter().filter(|(_, manifest)| uses(manifest));
        names
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (of_kind("dependencies"), of_kind("dev-dependencies")) {
        (users, tests) if users.is_empty() && tests.is_empty() => {
            panic!("nobody uses {dependency}")
        }
        (users, tests) if tests.is_empty() => users,
        (users, tests) if users.is_empty() => format!("tests: {tests}"),
        (users, tests) => format!("{users}; tests: {tests}"),
    }
}

fn manifests(root: &Path) -> BTreeMap<String, Table> {
    fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, table(&entry.path().join("Cargo.toml")))
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Says whether the keyword stands in a text other than in comments and sentences.
fn is_unchecked(text: &str) -> bool {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| {
            let mut rest = line.split(KEYWORD).skip(1).map(str::trim_start);
            rest.any(|next| NEXT.iter().any(|word| next.starts_with(word)))
        })
}
