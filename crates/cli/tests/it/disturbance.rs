//! A machine that others use: trials whose numbers were harmed are repeated and kept, harmed numbers are withheld, and the
//! others hold.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

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
fn a_harmed_trial_is_repeated_and_what_was_harmed_is_withheld_with_its_reason() {
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
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Inconclusive for "), "{text}");
    assert!(words.contains("What holds: counts"), "{text}");
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
    let rates = summary["comparisons"].as_array().unwrap().iter();
    for comparison in rates.filter(|found| found["metric"] == "throughput") {
        assert_eq!(comparison["verdict"], "inconclusive");
    }
    // Counts are exact whatever happens.
    let cell = &summary["cells"][0];
    assert_eq!(cell["trials"]["valid"], cell["trials"]["total"]);
    assert!(cell["operations"]["verified"].as_u64() > Some(0));
}

/// Stops the client and the server of whatever trial is on for 10 ms, ten times a second: a hypervisor that gives its CPUs
/// to others.
struct Bursts {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u32>>,
}

impl Bursts {
    fn start(bench: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut bursts = 0;
            while !stopping.load(Ordering::Relaxed) {
                let group = descendants(bench);
                signal("-STOP", &group);
                std::thread::sleep(Duration::from_millis(10));
                signal("-CONT", &group);
                bursts += u32::from(!group.is_empty());
                std::thread::sleep(Duration::from_millis(90));
            }
            bursts
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    fn end(mut self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// The processes of the trials of a bench, by its process id.
fn descendants(parent: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let mut all = Vec::new();
    for child in children.unwrap_or_default().split_whitespace() {
        all.push(child.to_owned());
        all.extend(descendants(child.parse().unwrap()));
    }
    all
}

/// Some may have ended.
fn signal(name: &str, processes: &[String]) {
    if !processes.is_empty() {
        let mut kill = std::process::Command::new("kill");
        let kill = kill.arg(name).args(processes).stderr(Stdio::null());
        assert!(kill.status().is_ok());
    }
}

#[test]
fn a_machine_that_is_taken_away_in_bursts_still_gives_counts_cpu_time_and_medians() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let timing = "timing = { warm_up_ms = 100, window_ms = 500 }";
    let lanes = ["http1-per-request", "http1-persistent"];
    let file = scenario(folder.path(), &lanes, timing);
    let mut bench = std::process::Command::new(env!("CARGO_BIN_EXE_sockrates"));
    bench.arg("bench").arg(&file);
    bench
        .args(["--blocks", "6", "--quiet", "--results"])
        .arg(&results);
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped());
    let bench = bench.spawn().unwrap();
    let bursts = Bursts::start(bench.id());
    let output = bench.wait_with_output().unwrap();
    assert!(bursts.end() > 0);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("nothing is to be concluded"), "{text}");
    let summary = json(&only_run(&results).join("summary.json"));
    let judged = summary["judgement"]["families"].as_array().unwrap();
    let of = |name: &str| judged.iter().find(|found| found["family"] == name).unwrap();
    assert_eq!(of("counts")["withheld"], 0);
    for cell in summary["cells"].as_array().unwrap() {
        assert!(cell["operations"]["verified"].as_u64() > Some(0));
        for (name, family) in [
            ("cpu_per_operation", "cpu_time"),
            ("service_time_p50", "medians"),
        ] {
            let metric = &cell["metrics"][name];
            // What else goes on on this machine may harm more; then that is told.
            let others = of(family)["because"].as_array().unwrap().iter();
            let is_told = others.into_iter().any(|flag| flag != "hiccup");
            assert!(metric["value"].is_number() || is_told, "{name}: {metric}");
        }
    }
}
