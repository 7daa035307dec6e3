//! From flags to what is to be measured: a scenario of one's own, and the trials of its only cell.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sockrates_core::cpu_idle::CpuIdle;
use sockrates_core::custom::{
    Content, Custom, ExpectedBody, HttpExchange, Matching, Message, MessageExchange,
};
use sockrates_core::lane::{Lane, Lifecycle};
use sockrates_core::payload::PayloadKind;
use sockrates_core::plan::{Cell, Placement, Plan, Target, TrialSpec};
use sockrates_core::scenario::{MAX_PAYLOAD_BYTES, Scenario, Timing, Workload};
use sockrates_core::schedule::Load;
use sockrates_core::units::{self, MAX_MS};
use sockrates_loadgen::registry;
use sockrates_probe::cpu;

use super::arguments::{Arguments, Arrivals, MatchArgument};
use crate::exit::{Exit, Failure, OrExit};
use crate::streams;
use crate::target::{self, Place};

/// What is to be measured.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) scenario: Scenario,
    pub(super) place: Place,
    pub(super) plan: Plan,
    pub(super) placement: Placement,
}

/// The trials' name in scenarios and cell ids.
const NAME: &str = "run";
/// How long operations are started that count.
const DURATION_MS: u32 = 10_000;
const WARM_UP_MS: u32 = 1000;
/// Open operations are waited for no longer than they may take, nor longer than this.
const MAX_DRAIN_MS: u32 = 10_000;
/// The schedule of an open load is drawn ahead: so many arrivals fit into memory.
const MAX_ARRIVALS: f64 = 50e6;
/// How often `--compare-lifecycles` measures each lane, and for how long.
const BLOCKS: u32 = 8;
const COMPARED_MS: u32 = 1500;
const COMPARED_WARM_UP_MS: u32 = 500;

impl Order {
    /// Resolves flags; whatever is wrong with them is said before anything is sent.
    pub(super) fn new(arguments: &Arguments, seed: u64) -> Result<Self, Failure> {
        let place = target::find(&arguments.url, &arguments.allow_target)?;
        let counterpart = arguments.gates.counterpart.as_ref();
        let counterpart = counterpart
            .map(|url| target::find(url, &arguments.allow_target))
            .transpose()?;
        let lanes = lanes(arguments, &place, counterpart.as_ref())?;
        let scenario = scenario(arguments, lanes, &place, counterpart.as_ref())?;
        scenario
            .check()
            .or_exit(Exit::Usage, "the flags do not fit together")?;
        for lane in &scenario.lanes {
            registry::find(lane, &scenario.workload).or_exit(Exit::Usage, "--lane")?;
        }
        let blocks = match (arguments.load.repeat, arguments.gates.compare_lifecycles) {
            (Some(blocks), _) => blocks,
            (None, true) => BLOCKS,
            (None, false) => 1,
        };
        let plan = if arguments.gates.compare_lifecycles {
            Plan::new(NAME, std::slice::from_ref(&scenario), blocks, seed)
        } else {
            // The only lane, and no second copy of it.
            let cells = Plan::new(NAME, std::slice::from_ref(&scenario), 1, seed).cells;
            let cells = cells
                .into_iter()
                .filter(|cell| scenario.lanes.contains(&cell.lane));
            Plan::of_cells(NAME, cells.collect(), blocks, seed)
        };
        Ok(Self {
            scenario,
            place,
            plan,
            placement: placement(arguments.load.threads)?,
        })
    }

    /// Returns the only cell.
    pub(super) fn cell(&self) -> &Cell {
        &self.plan.cells[0]
    }

    /// Returns the trials against a server.
    pub(super) fn trials(&self, target: &Target) -> Vec<TrialSpec> {
        self.plan.trials(&self.placement, target).collect()
    }
}

fn usage(message: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, message)
}

fn lanes(
    arguments: &Arguments,
    place: &Place,
    counterpart: Option<&Place>,
) -> Result<Vec<Lane>, Failure> {
    let lane = |transport: &str, lifecycle| Lane {
        transport: transport.to_owned(),
        lifecycle,
        client: None,
    };
    if !arguments.gates.compare_lifecycles {
        let given = arguments.load.lane.clone();
        let lifecycle = Lifecycle::from(arguments.load.lifecycle);
        let only = given.unwrap_or_else(|| lane(place.transport, lifecycle));
        if only.transport == "tcp" {
            return Err(usage(
                "--lane: the tcp floor is no server of your own; use an http1 or websocket lane",
            ));
        }
        return Ok(vec![only]);
    }
    if counterpart.is_some_and(|other| other.transport == place.transport) {
        return Err(usage(
            "--counterpart: has the same scheme as the URL; give one http:// and one ws:// URL",
        ));
    }
    if counterpart.is_some_and(|other| other.host != place.host) {
        return Err(usage(
            "--counterpart: is another server than the URL's; both protocols must be measured on one",
        ));
    }
    let mut transports = vec![place.transport];
    transports.extend(counterpart.map(|other| other.transport));
    transports.sort_unstable();
    let both = |transport| Lifecycle::ALL.map(|lifecycle| lane(transport, lifecycle));
    Ok(transports.into_iter().flat_map(both).collect())
}

fn scenario(
    arguments: &Arguments,
    lanes: Vec<Lane>,
    place: &Place,
    counterpart: Option<&Place>,
) -> Result<Scenario, Failure> {
    let has = |transport: &str| lanes.iter().any(|lane| lane.transport == transport);
    let path = |transport: &str| {
        let other = counterpart.filter(|other| other.transport == transport);
        other.unwrap_or(place).path.clone()
    };
    only_for(arguments, has("http1"), has("websocket"))?;
    check_matching(arguments)?;
    let custom = Custom {
        http: has("http1")
            .then(|| http(arguments, path("http1")))
            .transpose()?,
        websocket: has("websocket").then(|| websocket(arguments, path("websocket"))),
    };
    let load = load(arguments, custom.listens())?;
    let timing = timing(arguments, &load)?;
    let url = &arguments.url;
    Ok(Scenario {
        name: NAME.to_owned(),
        question: format!("What does {} pay?", url.escape_debug()),
        analysis: "Made by `sockrates run --save-scenario`.".to_owned(),
        target: Some(place.host.clone()),
        workload: Workload::Custom(Box::new(custom)),
        load,
        wait: arguments.load.wait.into(),
        cpu_idle: vec![CpuIdle::AsIs],
        cpu_idle_connections: None,
        lanes,
        connections: vec![arguments.load.connections],
        timing,
        operations: arguments.load.operations,
        blocks: None,
        deliveries: Vec::new(),
    })
}

/// A flag that would do nothing is a misunderstanding.
fn only_for(arguments: &Arguments, http: bool, websocket: bool) -> Result<(), Failure> {
    let flags = &arguments.http;
    let messages = &arguments.websocket;
    let of_http = [
        (flags.method.is_some(), "--method"),
        (flags.body.is_some(), "--body"),
        (flags.body_file.is_some(), "--body-file"),
        (flags.expect_status.is_some(), "--expect-status"),
    ];
    let of_websocket = [
        (messages.message.is_some(), "--message"),
        (messages.message_size.is_some(), "--message-size"),
        (messages.binary, "--binary"),
        (messages.matching.is_some(), "--match"),
        (messages.subprotocol.is_some(), "--subprotocol"),
    ];
    let idle = |flags: &[(bool, &'static str)], is_used: bool| {
        let given = flags.iter().find(|(is_given, _)| *is_given && !is_used);
        given.map(|(_, name)| *name)
    };
    if let Some(name) = idle(&of_http, http) {
        return Err(usage(format!(
            "{name} is for HTTP, and a WebSocket is measured: use --message, --match and the like, or an http:// URL"
        )));
    }
    if let Some(name) = idle(&of_websocket, websocket) {
        return Err(usage(format!(
            "{name} is for WebSocket, and HTTP is measured: use --body, --method and the like, or a ws:// URL"
        )));
    }
    Ok(())
}

fn http(arguments: &Arguments, path: String) -> Result<HttpExchange, Failure> {
    let flags = &arguments.http;
    let body = match (&flags.body, &flags.body_file) {
        (Some(text), _) => Some(Content::of(text.as_bytes())),
        (None, Some(file)) => {
            let reading = format!("read the body from {}", file.display());
            Some(Content::of(&read_body(file).or_exit(Exit::Usage, reading)?))
        }
        (None, None) => None,
    };
    let method = if body.is_some() { "POST" } else { "GET" };
    let exactly = |text: &String| ExpectedBody::Exactly(Content::of(text.as_bytes()));
    let expect_body = match (&flags.expect_body, flags.expect_echo) {
        (Some(text), _) => Some(exactly(text)),
        (None, true) => Some(ExpectedBody::Echo),
        (None, false) => None,
    };
    Ok(HttpExchange {
        path,
        method: flags.method.clone().unwrap_or_else(|| method.to_owned()),
        headers: flags.headers.clone(),
        body,
        expect_status: flags.expect_status.clone().unwrap_or_default(),
        expect_body,
    })
}

/// Reads no more than may be sent: one byte more shows that it is too much.
fn read_body(file: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let limit = u64::from(MAX_PAYLOAD_BYTES) + 1;
    if streams::is_standard(file) {
        io::stdin().take(limit).read_to_end(&mut body)?;
    } else {
        File::open(file)?.take(limit).read_to_end(&mut body)?;
    }
    Ok(body)
}

/// The length of messages where none is given.
const MESSAGE_BYTES: u32 = 64;

/// Says whether what is expected can be compared.
fn check_matching(arguments: &Arguments) -> Result<(), Failure> {
    let matching = arguments.websocket.matching;
    let is_other = matching.is_some_and(|matching| matching != MatchArgument::Echo);
    if arguments.http.expect_echo && is_other {
        return Err(usage(
            "--expect-echo: is for --match echo; with any-reply use --expect-body; with receive-only nothing is expected",
        ));
    }
    if arguments.load.ramp > 0 && matching == Some(MatchArgument::ReceiveOnly) {
        return Err(usage(
            "--ramp: with --match receive-only there is no load that could rise",
        ));
    }
    Ok(())
}

fn websocket(arguments: &Arguments, path: String) -> MessageExchange {
    let flags = &arguments.websocket;
    let expected = arguments.http.expect_body.as_ref();
    let matching = match (flags.matching, expected) {
        (Some(matching), _) => matching.into(),
        (None, Some(_)) => Matching::AnyReply,
        (None, None) => Matching::Echo,
    };
    let message = match (&flags.message, flags.message_size) {
        (Some(text), _) => Some(Message::Text(text.clone())),
        (None, Some(bytes)) => Some(Message::Random(bytes)),
        (None, None) if flags.matching == Some(MatchArgument::ReceiveOnly) => None,
        (None, None) => Some(Message::Random(MESSAGE_BYTES)),
    };
    MessageExchange {
        path,
        headers: arguments.http.headers.clone(),
        subprotocol: flags.subprotocol.clone(),
        message,
        kind: if flags.binary {
            PayloadKind::Binary
        } else {
            PayloadKind::Text
        },
        matching,
        expect_message: expected.map(|text| Content::of(text.as_bytes())),
    }
}

fn load(arguments: &Arguments, listens: bool) -> Result<Load, Failure> {
    let flags = &arguments.load;
    match (flags.rate, flags.arrivals) {
        (Some(_), _) if listens => Err(usage(
            "--rate: with --match receive-only the server decides when it sends, and no load is offered",
        )),
        (None, _) if listens && flags.operations.is_some() => Err(usage(
            "--operations: with --match receive-only the server decides how many there are; use --duration",
        )),
        (None, _) if listens => Ok(Load::Events {}),
        (None, _) => Ok(Load::Closed {}),
        (Some(rate_per_second), Arrivals::Constant) => Ok(Load::OpenConstant { rate_per_second }),
        (Some(rate_per_second), Arrivals::Poisson) => Ok(Load::OpenPoisson { rate_per_second }),
    }
}

fn timing(arguments: &Arguments, load: &Load) -> Result<Timing, Failure> {
    let flags = &arguments.load;
    if flags.duration == Some(0) {
        let operations = if flags.operations.is_some() {
            "; leave it out to end after --operations alone"
        } else {
            ", in which nothing can be measured"
        };
        return Err(usage(format!("--duration: is 0{operations}")));
    }
    if flags.timeout == 0 {
        return Err(usage("--timeout: is 0, which nothing can keep"));
    }
    if flags.operations.is_some() && (flags.ramp > 0 || flags.warmup.is_some_and(|ms| ms > 0)) {
        return Err(usage(
            "--operations: counts from the first one on, so that there is no warm-up and no ramp; leave them out, or use --duration",
        ));
    }
    let is_compared = arguments.gates.compare_lifecycles;
    let warm_up_ms = flags.warmup.unwrap_or(match flags.operations {
        Some(_) => 0,
        None if is_compared => COMPARED_WARM_UP_MS,
        None => WARM_UP_MS,
    });
    let window_ms = match (flags.duration, flags.operations) {
        (Some(ms), None) => ms,
        (Some(ms), Some(count)) => {
            check_reached(count, load, ms)?;
            ms
        }
        (None, Some(count)) => time_for(count, load)?,
        (None, None) if is_compared => COMPARED_MS,
        (None, None) => DURATION_MS,
    };
    let listens = matches!(load, Load::Events {});
    let timing = Timing {
        warm_up_ms: flags.ramp.saturating_add(warm_up_ms),
        ramp_ms: flags.ramp,
        window_ms,
        drain_ms: if listens {
            0
        } else {
            flags.timeout.min(MAX_DRAIN_MS)
        },
        timeout_ms: flags.timeout,
    };
    let seconds = f64::from(timing.warm_up_ms) / 1e3 + f64::from(window_ms) / 1e3;
    let arrivals = flags.rate.map_or(0.0, |rate| rate * seconds);
    if arrivals > MAX_ARRIVALS {
        return Err(usage(format!(
            "--rate: {arrivals:.0} operations would be due, and at most {MAX_ARRIVALS:.0} are planned ahead: use a lower rate or a shorter --duration"
        )));
    }
    Ok(timing)
}

/// Says that a rate does not make so many operations due in the time that was asked for.
fn check_reached(count: u32, load: &Load, ms: u32) -> Result<(), Failure> {
    let Some(rate) = load.offered_per_second(1) else {
        return Ok(());
    };
    if f64::from(count) <= rate * f64::from(ms) / 1e3 {
        return Ok(());
    }
    Err(usage(format!(
        "--operations: {count} at {rate} a second take {}, and --duration is {}: leave --duration out, use a higher --rate, or fewer",
        units::seconds(f64::from(count) / rate),
        units::flag_time(ms)
    )))
}

/// Returns in which time so many operations are due, with room for the chance in random arrivals. A load that ends by its count
/// alone has a bound all the same.
fn time_for(count: u32, load: &Load) -> Result<u32, Failure> {
    let Some(rate) = load.offered_per_second(1) else {
        return Ok(MAX_MS);
    };
    check_reached(count, load, MAX_MS).map_err(|_| {
        usage(format!(
            "--operations: {count} at {rate} a second take {}, and the longest --duration is {}: use a higher --rate, or fewer",
            units::seconds(f64::from(count) / rate),
            units::flag_time(MAX_MS)
        ))
    })?;
    let count = f64::from(count);
    let ms = (count + 6.0 * count.sqrt() + 10.0) / rate * 1e3;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates"
    )]
    let whole = ms.ceil() as u32;
    Ok(whole.clamp(1, MAX_MS))
}

fn placement(threads: Option<u32>) -> Result<Placement, Failure> {
    let cpus = cpu::usable().or_exit(Exit::Environment, "ask which CPUs may be used")?;
    let threads = match threads {
        None => (cpus.len() / 2).max(1),
        Some(threads) => {
            let threads = usize::try_from(threads).unwrap_or(usize::MAX);
            if threads > cpus.len() {
                return Err(usage(format!(
                    "--threads: is {threads}, and there are {} CPUs for them: each thread has one of its own",
                    cpus.len()
                )));
            }
            threads
        }
    };
    Ok(Placement {
        client_cpus: cpus.into_iter().take(threads).collect(),
        // Where the server runs is its own business.
        server_cpus: Vec::new(),
    })
}
