//! Tells the binary which compiler made it, and from which revision.

use std::env;
use std::process::Command;

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!(
        "cargo::rustc-env=SOCKRATES_RUSTC={}",
        output(&rustc, &["-V"])
    );
    let revision = output("git", &["rev-parse", "--short=7", "HEAD"]);
    let revision = if revision.is_empty() {
        "norev".to_owned()
    } else {
        revision
    };
    println!("cargo::rustc-env=SOCKRATES_REVISION={revision}");
    println!(
        "cargo::rustc-env=SOCKRATES_PROFILE={}",
        env::var("PROFILE").unwrap_or_default()
    );
    // A new commit or a switched branch touches one of these; outside a checkout neither exists.
    let git = output("git", &["rev-parse", "--absolute-git-dir"]);
    if !git.is_empty() {
        println!("cargo::rerun-if-changed={git}/HEAD");
        println!("cargo::rerun-if-changed={git}/logs/HEAD");
    }
    println!("cargo::rerun-if-changed=build.rs");
}

/// Returns what a command prints, or nothing when it cannot be run or fails.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let good = output.ok().filter(|output| output.status.success());
    good.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
