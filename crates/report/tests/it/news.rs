//! Runs of news, chats and games with known times and costs.

use std::collections::BTreeMap;

use sockrates_core::histogram::Histogram;
use sockrates_core::plan::{Plan, TrialSpec};
use sockrates_core::record::{
    DuplexCounts, FanoutCounts, LoadCost, Metric, TrialRecord, UpdateCounts,
};
use sockrates_core::scenario::Scenario;
use sockrates_core::schedule::Load;
use sockrates_core::summary::Estimate;
use sockrates_core::target::ProcessUsage;
use sockrates_core::verdict::Flag;
use sockrates_report::{Dataset, compare_lanes, compare_runs, summarize, terminal};

use crate::synthetic::{constant, dataset, record};

const HEAD: &str = r#"
question = "How long?"
analysis = "None."
timing = { warm_up_ms = 100, window_ms = 2000 }
"#;

fn plan(toml: &str, blocks: u32) -> Plan {
    let (workload, ways) = toml.split_once("[[").unwrap_or((toml, ""));
    let ways = if ways.is_empty() {
        String::new()
    } else {
        format!("[[{ways}")
    };
    let toml = format!("name = \"tiny\"\n{HEAD}{workload}{ways}");
    Plan::new("tiny", &[Scenario::parse(&toml).unwrap()], blocks, 7)
}

fn near(found: f64, wanted: f64) -> bool {
    (found / wanted - 1.0).abs() < 0.01
}

fn one_line(dataset: &Dataset) -> String {
    let text = terminal(dataset, &summarize(dataset));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Ten clients, two events a second each: a push costs 50 µs, a poll over a kept connection 30 µs, over a fresh one 90 µs.
fn ways(intervals_ms: &[u64], blocks: u32) -> Dataset {
    let plan = plan(
        &format!(
            r#"
            connections = [10]
            workload = {{ kind = "updates", events_per_second = 2.0, payload_bytes = 64, topics = 10 }}
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = {intervals_ms:?}
            lanes = ["http1-per-request", "http1-persistent"]
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
            "#
        ),
        blocks,
    );
    dataset(plan, way)
}

const WALL_NS: u64 = 2_000_000_000;

fn way(spec: TrialSpec) -> TrialRecord {
    const CLIENTS: u64 = 10;
    let is_fresh = spec.cell.lane.to_string().contains("per-request");
    let (operations, each_ns, stale_ns) = match spec.cell.load {
        Load::Interval { interval_ms } => (
            CLIENTS * 2000 / interval_ms,
            if is_fresh { 90_000 } else { 30_000 },
            interval_ms * 500_000,
        ),
        _ => (CLIENTS * 4, 50_000, 100_000),
    };
    let events = constant(stale_ns, CLIENTS * 4);
    let mut record = record(spec, BTreeMap::from([(Metric::Staleness, events)]));
    let measured = record.measurement.as_mut().unwrap();
    measured.operations.issued = operations;
    measured.operations.verified = operations;
    measured.updates = Some(UpdateCounts {
        received: CLIENTS * 4,
        empty_polls: operations / 4,
        // Those of the warm-up, too.
        requests: operations * 2,
        ..UpdateCounts::default()
    });
    let half = operations * each_ns / 2;
    measured.client = ProcessUsage {
        cpu_user_ns: half,
        ..ProcessUsage::default()
    };
    measured.cost = Some(LoadCost {
        wall_ns: WALL_NS,
        client_cpu_ns: None,
        server_cpu_ns: Some(half),
        network: None,
    });
    record
}

#[test]
fn the_break_even_interval_follows_from_known_costs() {
    let run = ways(&[100, 250, 1000], 8);
    let found = summarize(&run).polling_break_evens;
    let of = |lane: &str| {
        let mut all = found.iter();
        all.find(|found| found.poll.contains(lane)).unwrap()
    };
    // 30 µs a poll over 2/s x 50 µs; and 90 µs over the same.
    let kept = of("http1-persistent");
    assert!(near(kept.interval_ms.value, 300.0), "{kept:?}");
    assert!(near(kept.poll_ns.value, 30_000.0) && near(kept.push_ns.value, 50_000.0));
    assert!(
        kept.poll.contains("250ms") && !kept.is_extrapolated,
        "{kept:?}"
    );
    let fresh = of("http1-per-request");
    assert!(near(fresh.interval_ms.value, 900.0), "{fresh:?}");
    let Estimate { low, high, .. } = fresh.interval_ms;
    assert!(near(low, 900.0) && near(high, 900.0), "no noise, no width");
    let text = one_line(&run);
    assert!(
        text.contains("at 2 events/s costs less CPU time from an interval of 300 ms on"),
        "{text}"
    );
    assert!(text.contains("CPU/client/s"), "{text}");
}

#[test]
fn the_cheapest_way_that_is_fresh_enough_is_named_where_all_trials_together_tell() {
    let text = one_line(&ways(&[250, 1000], 30));
    for sentence in [
        "to see news within 100 ms: websocket-persistent, push costs least",
        "to see news within 1 s or 5 s: http1-persistent, every 1 s costs least",
    ] {
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    // Forty events a trial: eight trials hold too few for a 99th percentile.
    let few = one_line(&ways(&[250, 1000], 8));
    assert!(!few.contains("to see news"), "{few}");
}

#[test]
fn a_break_even_beyond_the_measured_intervals_is_said_to_be_one() {
    let run = ways(&[20, 50], 8);
    let summary = summarize(&run);
    assert!(
        summary
            .polling_break_evens
            .iter()
            .all(|found| found.is_extrapolated)
    );
    assert!(!one_line(&run).contains("costs less CPU time from an interval"));
    // Of two blocks there is no interval, but their range.
    let of_two = &summarize(&ways(&[250], 2)).polling_break_evens[0];
    assert!(near(of_two.interval_ms.low, 300.0), "{of_two:?}");
}

#[test]
fn lost_and_repeated_events_are_flagged_and_shown() {
    let mut run = ways(&[250], 6);
    let whole = summarize(&run);
    let is_flagged = |flags: &BTreeMap<Flag, u32>| flags.contains_key(&Flag::NewsLost);
    assert!(!whole.cells.iter().any(|cell| is_flagged(&cell.flags)));
    for record in &mut run.records {
        let counts = record
            .measurement
            .as_mut()
            .unwrap()
            .updates
            .as_mut()
            .unwrap();
        (counts.lost, counts.repeated) = (2, 3);
    }
    let summary = summarize(&run);
    assert!(summary.cells.iter().all(|cell| is_flagged(&cell.flags)));
    let folder = tempfile::tempdir().unwrap();
    sockrates_report::write(folder.path(), &run).unwrap();
    let report = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    // A quarter of the polls found nothing; six trials of 40 events, 2 lost and 3 again in each.
    assert!(report.contains("25 % | 240 | 12 | 18 | 0"), "{report}");
}

#[test]
fn runs_are_compared_way_by_way_and_ways_of_one_run_are_not_confused() {
    let run = ways(&[100, 250], 8);
    let compared = compare_runs(&run, &run).unwrap();
    let text = compared.text();
    for name in [
        "http1-persistent, every 100 ms",
        "http1-persistent, every 250 ms",
        "websocket-persistent, push",
        "CPU/client",
        "as multiples of websocket-persistent",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    let json = serde_json::to_value(&compared).unwrap();
    let rows = json["load_points"][0]["comparisons"].as_array().unwrap();
    let cpu = rows
        .iter()
        .find(|row| row["metric"] == "cpu_per_client_second");
    assert_eq!(cpu.unwrap()["unit"], "cpu_ns_per_second");
    let mut cells: Vec<_> = rows
        .iter()
        .filter(|row| row["metric"] == "staleness_p50" && row["relative_to"].is_null())
        .map(|row| row["cell_b"].as_str().unwrap())
        .collect();
    cells.dedup();
    assert_eq!(cells.len(), 5, "{cells:?}");
    let lane = |name: &str| name.parse().unwrap();
    let (poll, push) = (lane("http1-persistent"), lane("websocket-persistent"));
    let refused = compare_lanes(&run, &poll, &push).unwrap_err().to_string();
    assert!(refused.contains("several ways"), "{refused}");
}

/// Rooms in which a message takes 100 µs and 3 µs more per member, and twice that until the last one has it.
fn room(spec: TrialSpec) -> TrialRecord {
    let members = u64::from(spec.cell.connections);
    let ns = 100_000 + 3_000 * members;
    let copies = 40 * members;
    let mut record = record(
        spec,
        BTreeMap::from([
            (Metric::Delivery, constant(ns, copies)),
            (Metric::DeliverySpread, constant(6_000 * members, 40)),
        ]),
    );
    let measured = record.measurement.as_mut().unwrap();
    measured.operations.issued = copies;
    measured.operations.verified = copies;
    measured.fanout = Some(FanoutCounts {
        sent: 40,
        received: copies,
        ..FanoutCounts::default()
    });
    record
}

#[test]
fn a_line_is_laid_through_rooms_of_several_sizes() {
    let chat = |connections: &str| {
        let toml = format!(
            r#"
            lanes = ["websocket-persistent"]
            connections = {connections}
            workload = {{ kind = "fanout", payload_bytes = 20 }}
            load = {{ model = "per-client", rate_per_second = 1.0 }}
            "#
        );
        dataset(plan(&toml, 6), room)
    };
    let run = chat("[10, 50, 200]");
    let fits = summarize(&run).room_fits;
    assert_eq!(fits.len(), 2);
    assert_eq!(
        (fits[0].metric.as_str(), &fits[0].members[..]),
        ("delivery_p50", &[10, 50, 200][..])
    );
    assert!(near(fits[0].per_member_ns.value, 3_000.0) && near(fits[0].base_ns, 100_000.0));
    assert!(near(fits[1].per_member_ns.value, 6_000.0) && fits[1].r_squared > 0.999);
    let text = one_line(&run);
    assert!(text.contains("each further member adds 3.00 µs"), "{text}");
    assert!(
        summarize(&chat("[10, 200]")).room_fits.is_empty(),
        "two points are always on a line"
    );
}

#[test]
fn the_ways_of_a_chat_are_told_apart_and_compared_with_push() {
    let toml = r#"
        connections = [10]
        workload = { kind = "fanout", payload_bytes = 20 }
        load = { model = "per-client", rate_per_second = 1.0 }
        [[deliveries]]
        delivery = "short-poll"
        intervals_ms = [1000]
        lanes = ["http1-persistent"]
        [[deliveries]]
        delivery = "sse"
        lanes = ["http1-per-request", "http1-persistent"]
        [[deliveries]]
        delivery = "push"
        lanes = ["websocket-persistent"]
    "#;
    let chat = |spec: TrialSpec| {
        let cpu_ns = match spec.cell.lane.to_string().as_str() {
            "websocket-persistent" => 1_000_000,
            "http1-persistent" => 2_000_000,
            _ => 6_000_000,
        };
        let mut record = room(spec);
        let measured = record.measurement.as_mut().unwrap();
        measured.window_cost = Some(LoadCost {
            wall_ns: WALL_NS,
            client_cpu_ns: Some(cpu_ns / 2),
            server_cpu_ns: Some(cpu_ns / 2),
            network: None,
        });
        record
    };
    let run = dataset(plan(toml, 8), chat);
    let summary = summarize(&run);
    let ids: Vec<_> = summary.cells.iter().map(|cell| cell.id.as_str()).collect();
    let scenario = ids[0].split('.').next().unwrap();
    let id = |rest: &str| format!("{scenario}.{rest}");
    assert_eq!(
        ids,
        [
            id("http1-persistent.short-poll-1000ms.c10"),
            id("http1-per-request.sse.c10"),
            id("http1-persistent.sse.c10"),
            id("websocket-persistent.push.c10"),
        ]
    );
    let factors = &summary.cells[0].factors;
    let told = ["delivery", "interval_ms"].map(|name| factors[name].as_str());
    assert_eq!(told, ["short-poll", "1000"]);
    // Each with push, by delivery and by what a member costs.
    let ratio = |cell: &str, metric: &str| {
        let mut all = summary.comparisons.iter();
        let found = all.find(|one| {
            one.cell == id(cell)
                && one.reference == id("websocket-persistent.push.c10")
                && one.metric == metric
        });
        found.unwrap().ratio.as_ref().unwrap().value
    };
    assert!(near(
        ratio("http1-per-request.sse.c10", "cpu_per_client_second"),
        6.0
    ));
    assert!(near(
        ratio("http1-persistent.sse.c10", "cpu_per_client_second"),
        2.0
    ));
    assert!(near(ratio("http1-persistent.sse.c10", "delivery_p50"), 1.0));
    let text = one_line(&run);
    for name in [
        "http1-persistent, post + 1 s polls",
        "http1-per-request, post + sse",
        "websocket-persistent, push",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[test]
fn a_game_is_told_by_its_inputs() {
    let toml = r#"
        lanes = ["http1-persistent", "websocket-persistent"]
        connections = [4]
        workload = { kind = "duplex", ticks_per_second = 20.0, snapshot_bytes = 40, input_bytes = 10 }
        load = { model = "per-client", rate_per_second = 20.0 }
    "#;
    let game = |spec: TrialSpec| {
        let ns = if spec.cell.lane.transport == "http1" {
            50_000_000
        } else {
            25_000_000
        };
        let times: BTreeMap<Metric, Histogram> = BTreeMap::from([
            (Metric::InputToSnapshot, constant(ns, 160)),
            (Metric::TickJitter, constant(40_000, 160)),
        ]);
        let mut record = record(spec, times);
        let measured = record.measurement.as_mut().unwrap();
        measured.operations.issued = 160;
        measured.operations.verified = 160;
        measured.duplex = Some(DuplexCounts {
            inputs: 160,
            snapshots: 150,
            skipped: 50,
            late: 20,
            ..DuplexCounts::default()
        });
        record
    };
    let run = dataset(plan(toml, 8), game);
    let text = one_line(&run);
    assert!(
        text.contains(
            "http1-persistent against websocket-persistent: input to snapshot p50 2.0× [2.0–2.0] (50.0 ms against 25.0 ms)"
        ),
        "{text}"
    );
    let folder = tempfile::tempdir().unwrap();
    sockrates_report::write(folder.path(), &run).unwrap();
    let report = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(
        report.contains("10.0 % | 25.0 %"),
        "late and unseen: {report}"
    );
}
