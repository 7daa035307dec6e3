//! Whole trials over the real clock and network: counts only, never times.

use std::net::TcpListener;

use sockrates_core::failure::FailureKind;
use sockrates_core::histogram::Histogram;
use sockrates_core::record::Metric;
use sockrates_core::scenario::{Timing, Wait};
use sockrates_core::schedule::Load as LoadModel;
use sockrates_loadgen::trial::TrialError;

use crate::support::{addresses, both, echo, run, server};

fn lane(name: &str) -> sockrates_core::lane::Lane {
    name.parse().unwrap()
}

#[test]
fn an_open_load_issues_its_whole_schedule_in_both_waits() {
    let server = server();
    for wait in [Wait::Blocking, Wait::Spin] {
        let mut spec = echo(&lane("http1-persistent"), 64, u64::MAX);
        spec.cell.connections = 4;
        spec.cell.wait = wait;
        spec.cell.load = LoadModel::OpenConstant {
            rate_per_second: 500.0,
        };
        spec.cell.timing = Timing {
            warm_up_ms: 100,
            window_ms: 200,
            ..spec.cell.timing
        };
        let load = run(spec, addresses(&server)).unwrap();
        assert_eq!(
            (load.warm_up.verified, load.operations.verified),
            (50, 100),
            "{wait:?}"
        );
        for metric in [
            Metric::ServiceTime,
            Metric::ResponseTime,
            Metric::ScheduleLag,
        ] {
            assert_eq!(load.histograms[&metric].count(), 100, "{wait:?} {metric:?}");
        }
        let in_slices: u64 = load.slices.histograms.iter().map(Histogram::count).sum();
        assert_eq!(in_slices, 150);
    }
    server.stop();
}

#[test]
fn workers_share_a_trial_without_losing_an_operation() {
    let server = server();
    let mut spec = echo(&lane("websocket-persistent"), 64, 101);
    spec.cell.connections = 5;
    spec.placement.client_cpus = sockrates_probe::cpu::usable().unwrap();
    let load = run(spec, addresses(&server)).unwrap();
    assert_eq!(
        (load.operations.issued, load.operations.verified),
        (101, 101)
    );
    assert_eq!(load.connections_opened, 5);
    server.stop();
}

#[test]
fn a_target_that_is_down_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = run(echo(&lane("tcp-persistent"), 64, 1), both(closed)).unwrap_err();
    assert!(
        matches!(
            error,
            TrialError::Unreachable {
                failure: FailureKind::ConnectRefused,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(&closed.to_string()));
}
