//! The committed JSON Schemas describe what the program writes: regenerated here, compared byte by byte.

use std::path::Path;

use schemars::{JsonSchema, SchemaGenerator};
use sockrates_core::document::Document;
use sockrates_core::files::write_whole;
use sockrates_core::manifest::RunManifest;
use sockrates_core::plan::TrialSpec;
use sockrates_core::record::TrialRecord;
use sockrates_core::run_result::RunResult;
use sockrates_core::summary::Summary;
use sockrates_core::target::ServerUsage;
use sockrates_core::work::Work;

/// Compares with the committed file; with `UPDATE_SCHEMAS=1` writes it instead.
fn check<D: Document + JsonSchema>() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
        "schema/{}.v{}.json",
        D::KIND,
        D::VERSION
    ));
    let schema = SchemaGenerator::default().into_root_schema_for::<D>();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        write_whole(&path, text.as_bytes()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is stale: run UPDATE_SCHEMAS=1 cargo test --locked -p sockrates-core",
        path.display()
    );
}

#[test]
fn committed_schemas_describe_the_documents() {
    check::<TrialSpec>();
    check::<TrialRecord>();
    check::<RunManifest>();
    check::<Summary>();
    check::<RunResult>();
    check::<ServerUsage>();
    check::<Work>();
}
