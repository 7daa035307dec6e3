//! `sockrates calibrate`: what the instrument itself costs on this machine, and how exact it is.

use clap::Args;
use serde::Serialize;
use sockrates_core::lane::Lane;
use sockrates_core::plan::{Cell, Placement, TrialSpec};
use sockrates_core::record::{Metric, Outcome, TrialRecord};
use sockrates_core::scenario::{Timing, Wait};
use sockrates_core::schedule::Load;
use sockrates_core::{units, verdict};
use sockrates_loadgen::{calibrate, registry};
use sockrates_probe::{cpu, limits, process};

use crate::exit::{Exit, Failure, OrExit};
use crate::orchestrate::child;
use crate::output;

/// Measure what the instrument itself costs, and how exact it is.
///
/// Takes about half a minute. Times drift between machines and hours: compare them within one run.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found; times in nanoseconds.
#[derive(Debug, Serialize)]
struct Calibration {
    clock_read_ns: f64,
    recorder_ns: f64,
    timer_late_p50_ns: u64,
    timer_late_p99_ns: u64,
    floor: Vec<Floor>,
    lanes: Vec<Cost>,
    pacing: Vec<Pacing>,
}

/// The tcp floor with one connection.
#[derive(Debug, Serialize)]
struct Floor {
    wait: Wait,
    service_time_p50_ns: u64,
}

/// What the client spends on one operation of a lane.
#[derive(Debug, Serialize)]
struct Cost {
    lane: Lane,
    client_user_ns: f64,
    client_system_ns: f64,
    operations_per_second: f64,
}

/// How late the generator notices due operations: the best of a few trials.
#[derive(Debug, Serialize)]
struct Pacing {
    wait: Wait,
    schedule_lag_p99_ns: u64,
    target_ns: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    limits::raise_descriptors().or_exit(Exit::Environment, "raise the limit of open files")?;
    let cpus = cpu::usable().or_exit(Exit::Environment, "ask which CPUs may be used")?;
    let placement = Placement::split(&cpus);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bench = Bench { placement, runtime };
    let calibration = bench.calibrate()?;
    if arguments.json {
        return output::json(&calibration);
    }
    output::result(&describe(&calibration));
    Ok(())
}

struct Bench {
    placement: Placement,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn calibrate(&self) -> Result<Calibration, Failure> {
        // As in a trial: no slack, and on the client's CPU.
        process::sharpen_timers()?;
        let everywhere = cpu::usable()?;
        cpu::pin_thread(self.placement.client_cpus.get(..1).unwrap_or_default())?;
        let lateness = calibrate::timer_lateness(TIMER_ROUNDS, TIMER_INTERVAL_NS)?;
        let clock_read_ns = calibrate::clock_read_ns();
        let recorder_ns = calibrate::recorder_ns();
        cpu::pin_thread(&everywhere)?;
        Ok(Calibration {
            clock_read_ns,
            recorder_ns,
            timer_late_p50_ns: lateness.quantile_unchecked_ns(0.5),
            timer_late_p99_ns: lateness.quantile_unchecked_ns(0.99),
            floor: WAITS
                .map(|wait| self.floor(wait))
                .into_iter()
                .collect::<Result<_, _>>()?,
            lanes: registry::lanes()
                .map(|(lane, _)| self.cost(&lane))
                .collect::<Result<_, _>>()?,
            pacing: WAITS
                .map(|wait| self.pacing(wait))
                .into_iter()
                .collect::<Result<_, _>>()?,
        })
    }

    fn floor(&self, wait: Wait) -> Result<Floor, Failure> {
        let lane = "tcp-persistent".parse()?;
        let record = self.trial(&lane, 1, Load::Closed {}, wait, 1000)?;
        Ok(Floor {
            wait,
            service_time_p50_ns: quantile(&record, Metric::ServiceTime, 0.5),
        })
    }

    fn cost(&self, lane: &Lane) -> Result<Cost, Failure> {
        let record = self.trial(
            lane,
            COST_CONNECTIONS,
            Load::Closed {},
            Wait::Blocking,
            1000,
        )?;
        let measured = record
            .measurement
            .as_ref()
            .expect("a completed trial was measured");
        let operations = (measured.operations.verified + measured.warm_up.verified).max(1) as f64;
        Ok(Cost {
            lane: lane.clone(),
            client_user_ns: measured.client.cpu_user_ns as f64 / operations,
            client_system_ns: measured.client.cpu_system_ns as f64 / operations,
            operations_per_second: measured.operations.verified as f64 * 1e9
                / measured.spans.window_ns() as f64,
        })
    }

    fn pacing(&self, wait: Wait) -> Result<Pacing, Failure> {
        let lane = "http1-persistent".parse()?;
        let load = Load::OpenPoisson {
            rate_per_second: PACING_RATE,
        };
        let lags = (0..PACING_TRIALS).map(|_| {
            let record = self.trial(&lane, PACING_CONNECTIONS, load.clone(), wait, 3000)?;
            Ok(quantile(&record, Metric::ScheduleLag, 0.99))
        });
        let lags: Vec<_> = lags.collect::<Result<_, Failure>>()?;
        let best = lags.into_iter().min().expect("there is a trial");
        Ok(Pacing {
            wait,
            schedule_lag_p99_ns: best,
            target_ns: verdict::lag_target_ns(wait),
        })
    }

    fn trial(
        &self,
        lane: &Lane,
        connections: u32,
        load: Load,
        wait: Wait,
        window_ms: u32,
    ) -> Result<TrialRecord, Failure> {
        let timing = Timing {
            warm_up_ms: 200,
            window_ms,
            ..Timing::default()
        };
        let cell = Cell {
            load,
            connections,
            wait,
            ..Cell::echo(lane.clone(), 64, timing)
        };
        let spec = TrialSpec::alone(cell, self.placement.clone());
        let record = self.runtime.block_on(child::perform(&spec, None));
        match &record.outcome {
            Outcome::Completed => Ok(record),
            Outcome::Failed { message, .. } => Err(Failure::new(
                Exit::Harness,
                format!("calibrate {lane}: {message}"),
            )),
        }
    }
}

fn quantile(record: &TrialRecord, metric: Metric, quantile: f64) -> u64 {
    let histograms = record
        .measurement
        .as_ref()
        .map(|measured| &measured.histograms);
    let histogram = histograms.and_then(|all| all.get(&metric));
    histogram.map_or(0, |histogram| histogram.quantile_unchecked_ns(quantile))
}

const WAITS: [Wait; 2] = [Wait::Blocking, Wait::Spin];
const TIMER_ROUNDS: u32 = 2000;
const TIMER_INTERVAL_NS: u64 = 200_000;
/// Enough to keep both ends busy.
const COST_CONNECTIONS: u32 = 50;
const PACING_RATE: f64 = 5000.0;
const PACING_CONNECTIONS: u32 = 16;
const PACING_TRIALS: u32 = 5;

fn describe(found: &Calibration) -> String {
    let time = |ns: u64| units::time(ns as f64);
    let mut text = format!(
        "clock read            {}\nrecording             {} per operation\n\
         timer lateness        p50 {}, p99 {}\n",
        units::time(found.clock_read_ns),
        units::time(found.recorder_ns),
        time(found.timer_late_p50_ns),
        time(found.timer_late_p99_ns),
    );
    for Floor {
        wait,
        service_time_p50_ns,
    } in &found.floor
    {
        let floor = time(*service_time_p50_ns);
        text += &format!(
            "tcp floor, {:<9}  p50 {floor} with one connection\n",
            wait.name()
        );
    }
    for Pacing {
        wait,
        schedule_lag_p99_ns,
        target_ns,
    } in &found.pacing
    {
        let verdict = if schedule_lag_p99_ns <= target_ns {
            "met"
        } else {
            "missed"
        };
        text += &format!(
            "pacing, {:<9}     p99 schedule lag {} at {PACING_RATE}/s (target {}: {verdict})\n",
            wait.name(),
            time(*schedule_lag_p99_ns),
            time(*target_ns),
        );
    }
    text +=
        &format!("\nthe client's own CPU time per operation, {COST_CONNECTIONS} connections:\n");
    text += "  lane                        user      kernel         rate\n";
    for cost in &found.lanes {
        text += &format!(
            "  {:<24} {:>8}  {:>10}  {:>11}\n",
            cost.lane.to_string(),
            units::time(cost.client_user_ns),
            units::time(cost.client_system_ns),
            units::rate(cost.operations_per_second),
        );
    }
    text
}
