//! A machine that others use: disturbed trials are repeated and kept, and nothing is concluded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::support::{json, only_run, scenario, sockrates, stderr};

/// Keeps all CPUs busy until it is dropped.
struct Burner {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Burner {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cpus = std::thread::available_parallelism().map_or(2, usize::from);
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..cpus)
            .map(|_| std::thread::spawn(spin(Arc::clone(&stop))))
            .collect();
        Self { stop, threads }
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_disturbed_trial_is_repeated_and_a_disturbed_run_concludes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let timing = "timing = { warm_up_ms = 50, window_ms = 300 }";
    let file = scenario(
        folder.path(),
        &["http1-per-request", "http1-persistent"],
        timing,
    );
    let burner = Burner::start();
    let output = sockrates()
        .arg("bench")
        .arg(&file)
        .args([
            "--blocks",
            "6",
            "--quiet",
            "--require-conclusive",
            "--results",
        ])
        .arg(&results)
        .output()
        .unwrap();
    drop(burner);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("inconclusive"),
        "{}",
        stderr(&output)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Inconclusive: nothing is to be"), "{text}");
    let run = only_run(&results);
    let records: Vec<_> = std::fs::read_dir(run.join("trials"))
        .unwrap()
        .map(|entry| json(&entry.unwrap().path()))
        .collect();
    let is_again = |record: &&serde_json::Value| record["spec"]["attempt"].as_u64() > Some(0);
    let again = records.iter().filter(is_again).count();
    // 18 trials, and a fifth more time to repeat some: every attempt is kept.
    assert!((1..=4).contains(&again), "{again}");
    let summary = json(&run.join("summary.json"));
    assert_eq!(summary["judgement"]["repeated_trials"], again);
    for comparison in summary["comparisons"].as_array().unwrap() {
        assert_eq!(comparison["verdict"], "inconclusive");
    }
    // Disturbed or not, the numbers are there.
    assert!(summary["cells"][0]["metrics"]["throughput"]["value"].is_number());
}
