//! What a scenario may say: the checks beyond its types, each naming the field and what would be right.

use super::{Delivery, Scenario, Timing, Way, Workload};
use crate::lane::{Lane, Lifecycle};
use crate::plan::Cell;
use crate::schedule::Load;
pub(super) use crate::units::MAX_MS;

/// The largest payload a scenario may ask for: the target server's default limit for one message.
pub const MAX_PAYLOAD_BYTES: u32 = 1 << 20;
/// More connections than the descriptors of any one process here allow.
const MAX_CONNECTIONS: u32 = 1 << 16;
/// A run of more has no end.
const MAX_CELLS: usize = 1000;
const MAX_RATE_PER_SECOND: f64 = 10e6;
/// More take longer than any trial may.
const MAX_OPERATIONS: u32 = 100_000_000;
const MAX_EXCHANGES: u32 = 1_000_000;
/// What the target contract asks a server to hold.
const MAX_TOPICS: u32 = 16_384;

/// Says what is wrong with a scenario; the caller adds the file's name.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is not TOML, lacks a field or has one that does not exist; the parser's message names and shows it.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// A field has an impossible value.
    #[error("`{field}` {problem}")]
    Field {
        /// The field's path, e.g. `load.rate_per_second`.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
}

impl Scenario {
    /// Checks what the types cannot say. To be repeated after anything was changed.
    pub fn check(&self) -> Result<(), ScenarioError> {
        require(is_slug(&self.name), "name", || {
            format!("is `{}`: use lower-case words joined by `-`", self.name)
        })?;
        self.check_cells()?;
        self.check_lanes()?;
        require(!self.connections.is_empty(), "connections", || {
            "is empty: give at least one number".into()
        })?;
        for (index, count) in self.connections.iter().enumerate() {
            require((1..=MAX_CONNECTIONS).contains(count), "connections", || {
                format!("has {count}: use 1 to {MAX_CONNECTIONS}")
            })?;
            require(
                !self.connections[..index].contains(count),
                "connections",
                || format!("has {count} twice"),
            )?;
        }
        require(
            self.workload.payload_bytes() <= MAX_PAYLOAD_BYTES,
            "workload.payload_bytes",
            || {
                format!(
                    "is {}: use at most {MAX_PAYLOAD_BYTES}",
                    self.workload.payload_bytes()
                )
            },
        )?;
        check_list(&self.cpu_idle, "cpu_idle")?;
        self.check_exchanges()?;
        self.check_workload()?;
        for variant in self.variants() {
            variant.check_load()?;
            variant.check_delivery()?;
        }
        self.timing.check()
    }

    /// Looks at nothing else before it is known that the lists are short.
    fn check_cells(&self) -> Result<(), ScenarioError> {
        let ways = self.deliveries.iter();
        let ways: usize = ways
            .map(|way| {
                way.lanes
                    .len()
                    .saturating_mul(way.intervals_ms.len().max(1))
            })
            .fold(self.lanes.len(), usize::saturating_add);
        let points = self.connections.len().saturating_mul(self.cpu_idle.len());
        let cells = ways.saturating_mul(points);
        require(cells <= MAX_CELLS, "connections", || {
            format!("makes {cells} cells with the lanes and ways: use at most {MAX_CELLS}")
        })
    }

    fn check_lanes(&self) -> Result<(), ScenarioError> {
        if self.deliveries.is_empty() {
            return check_list(&self.lanes, "lanes");
        }
        require(self.lanes.is_empty(), "lanes", || {
            "stands beside `deliveries`, which name their own".into()
        })?;
        let has_ways = !matches!(self.workload, Workload::Echo { .. } | Workload::Custom(_));
        require(has_ways, "deliveries", || {
            let name = self.workload.name();
            format!("is for `updates`, `fanout` and `duplex`, not for `{name}`")
        })?;
        let plays = matches!(self.workload, Workload::Duplex { .. });
        for (index, way) in self.deliveries.iter().enumerate() {
            let is_same = |other: &&Way| {
                let shares = |lane| other.lanes.contains(lane);
                let asks = |interval| other.intervals_ms.contains(interval);
                other.delivery == way.delivery
                    && way.lanes.iter().any(shares)
                    && (way.intervals_ms.is_empty() || way.intervals_ms.iter().any(asks))
            };
            let is_first = !self.deliveries[..index].iter().any(|other| is_same(&other));
            require(is_first, "deliveries", || {
                format!("has `{}` twice for a lane", way.delivery.name())
            })?;
            check_list(&way.lanes, "deliveries.lanes")?;
            let field = "deliveries.intervals_ms";
            if plays {
                require(way.intervals_ms.is_empty(), field, || {
                    "is not for `duplex`, whose players poll once a tick: leave it out".into()
                })?;
            } else if way.delivery == Delivery::ShortPoll {
                check_list(&way.intervals_ms, field)?;
            } else {
                require(way.intervals_ms.is_empty(), field, || {
                    format!("is for `short-poll`, not for `{}`", way.delivery.name())
                })?;
            }
        }
        Ok(())
    }

    fn check_workload(&self) -> Result<(), ScenarioError> {
        match self.workload {
            Workload::Echo { .. } => Ok(()),
            Workload::Custom(ref custom) => {
                let problem = |(field, problem)| ScenarioError::Field { field, problem };
                custom.check().map_err(problem)?;
                require(self.target.is_some(), "target", || {
                    "is left out: a `custom` workload is for a server of your own, HOST:PORT".into()
                })?;
                self.lanes.iter().try_for_each(|lane| {
                    let has_part = match lane.transport.as_str() {
                        "http1" => custom.http.is_some(),
                        "websocket" => {
                            custom.websocket.is_some()
                                && (lane.lifecycle == Lifecycle::Persistent || !custom.listens())
                        }
                        _ => true,
                    };
                    require(has_part, "lanes", || {
                        format!("has `{lane}`, for which `workload` has no part")
                    })
                })
            }
            Workload::Updates {
                events_per_second,
                topics,
                updates_per_connection,
                ..
            } => {
                check_rate("workload.events_per_second", events_per_second)?;
                require(
                    (1..=MAX_TOPICS).contains(&topics),
                    "workload.topics",
                    || format!("is {topics}: use 1 to {MAX_TOPICS}"),
                )?;
                require(
                    updates_per_connection != Some(0),
                    "workload.updates_per_connection",
                    || "is 0: use 1 or more, or leave it out".into(),
                )
            }
            Workload::Fanout { room_members, .. } => {
                let Some(members) = room_members else {
                    return Ok(());
                };
                let whole = |count: &u32| members > 0 && count.is_multiple_of(members);
                require(
                    self.connections.iter().all(whole),
                    "workload.room_members",
                    || format!("is {members}, which does not divide all `connections`"),
                )
            }
            Workload::Duplex {
                ticks_per_second,
                input_bytes,
                ..
            } => {
                let field = "workload.ticks_per_second";
                require((1.0..=1000.0).contains(&ticks_per_second), field, || {
                    format!("is {ticks_per_second}: use 1 to 1000")
                })?;
                require(
                    input_bytes <= MAX_PAYLOAD_BYTES,
                    "workload.input_bytes",
                    || format!("is {input_bytes}: use at most {MAX_PAYLOAD_BYTES}"),
                )
            }
        }
    }

    fn check_exchanges(&self) -> Result<(), ScenarioError> {
        require(self.blocks != Some(0), "blocks", || {
            "is 0: use 1 or more, or leave it out".to_owned()
        })?;
        if let Some(count) = self.operations {
            require((1..=MAX_OPERATIONS).contains(&count), "operations", || {
                format!("is {count}: use 1 to {MAX_OPERATIONS}")
            })?;
        }
        if let Workload::Echo {
            exchanges_per_connection: Some(count),
            ..
        } = self.workload
        {
            let field = "workload.exchanges_per_connection";
            require((1..=MAX_EXCHANGES).contains(&count), field, || {
                format!("is {count}: use 1 to {MAX_EXCHANGES}")
            })?;
            let is_kept = |lane: &Lane| lane.lifecycle == Lifecycle::Persistent;
            require(self.lanes.iter().all(is_kept), field, || {
                "is for persistent lanes; a per-request lane always has 1".into()
            })?;
        }
        Ok(())
    }

    /// Checks that so many operations are due at all. Records of earlier versions may say what is never reached.
    pub(super) fn check_count(&self) -> Result<(), ScenarioError> {
        let Some(count) = self.operations else {
            return Ok(());
        };
        let seconds = f64::from(self.timing.warm_up_ms + self.timing.window_ms) / 1e3;
        let offered = self.connections.iter();
        let offered = offered.filter_map(|count| self.load.offered_per_second(*count));
        let fewest = offered.fold(f64::INFINITY, |least, rate| least.min(rate * seconds));
        require(f64::from(count) <= fewest, "operations", || {
            format!(
                "is {count}, and about {fewest:.0} are due in {seconds} s: use fewer, a longer \
                 `timing.window_ms` or a higher rate"
            )
        })
    }

    fn check_load(&self) -> Result<(), ScenarioError> {
        match self.load {
            Load::Closed {} | Load::Events {} => {}
            Load::OpenConstant { rate_per_second }
            | Load::OpenPoisson { rate_per_second }
            | Load::PerClient { rate_per_second } => {
                check_rate("load.rate_per_second", rate_per_second)?;
            }
            Load::Interval { interval_ms } => {
                require(
                    (1..=u64::from(MAX_MS)).contains(&interval_ms),
                    "load.interval_ms",
                    || format!("is {interval_ms}: use 1 to {MAX_MS}"),
                )?;
            }
            Load::Capacity { p99_ms } => {
                require(
                    p99_ms > 0.0 && p99_ms <= f64::from(MAX_MS),
                    "load.p99_ms",
                    || format!("is {p99_ms}: use a number above 0, up to {MAX_MS}"),
                )?;
                let is_echo = matches!(self.workload, Workload::Echo { .. });
                require(is_echo, "load.model", || {
                    "is `capacity`, which needs the workload `echo`".into()
                })?;
            }
        }
        let needs = match self.workload {
            Workload::Echo { .. } => {
                let begins = matches!(self.load, Load::Events {});
                return require(!begins, "load", || "is left out: say when to echo".into());
            }
            Workload::Updates {
                delivery: Delivery::ShortPoll,
                ..
            } => "interval",
            Workload::Updates { .. } => "events",
            Workload::Fanout { .. } | Workload::Duplex { .. } => "per-client",
            Workload::Custom(ref custom) if custom.listens() => "events",
            Workload::Custom(_) => {
                let fits = matches!(
                    self.load,
                    Load::Closed {} | Load::OpenConstant { .. } | Load::OpenPoisson { .. }
                );
                return require(fits, "load.model", || {
                    "does not fit: `custom` needs `closed`, `open-constant` or `open-poisson`"
                        .into()
                });
            }
        };
        require(self.load.model() == needs, "load.model", || {
            format!(
                "is `{}`: `{}` needs `{needs}`",
                self.load.model(),
                self.workload.way()
            )
        })
    }
}

/// Checks a list of which each entry makes a cell.
fn check_list<T: PartialEq + std::fmt::Display>(
    list: &[T],
    field: &'static str,
) -> Result<(), ScenarioError> {
    require(!list.is_empty(), field, || {
        "is empty: name at least one".into()
    })?;
    for (index, entry) in list.iter().enumerate() {
        require(!list[..index].contains(entry), field, || {
            format!("names `{entry}` twice")
        })?;
    }
    Ok(())
}

impl Cell {
    /// Checks a cell from a file by the rules of scenarios.
    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        let scenario = Scenario {
            name: "cell".to_owned(),
            question: String::new(),
            analysis: String::new(),
            target: Some(String::new()),
            load: self.load.clone(),
            wait: self.wait,
            cpu_idle: vec![self.cpu_idle],
            cpu_idle_connections: None,
            lanes: vec![self.lane.clone()],
            connections: vec![self.connections],
            timing: self.timing,
            operations: self.operations,
            blocks: None,
            deliveries: Vec::new(),
            workload: self.workload.clone(),
        };
        scenario.check()
    }
}

impl Timing {
    fn check(&self) -> Result<(), ScenarioError> {
        let in_range = |range: std::ops::RangeInclusive<u32>, field, value| {
            require(range.contains(&value), field, || {
                format!("is {value}: use {} to {}", range.start(), range.end())
            })
        };
        in_range(0..=MAX_MS, "timing.warm_up_ms", self.warm_up_ms)?;
        in_range(0..=self.warm_up_ms, "timing.ramp_ms", self.ramp_ms)?;
        in_range(1..=MAX_MS, "timing.window_ms", self.window_ms)?;
        in_range(0..=MAX_MS, "timing.drain_ms", self.drain_ms)?;
        in_range(1..=MAX_MS, "timing.timeout_ms", self.timeout_ms)
    }
}

fn check_rate(field: &'static str, rate: f64) -> Result<(), ScenarioError> {
    require(rate > 0.0 && rate <= MAX_RATE_PER_SECOND, field, || {
        format!("is {rate}: use a number above 0, up to {MAX_RATE_PER_SECOND}")
    })
}

pub(super) fn require(
    holds: bool,
    field: &'static str,
    problem: impl FnOnce() -> String,
) -> Result<(), ScenarioError> {
    if holds {
        Ok(())
    } else {
        Err(ScenarioError::Field {
            field,
            problem: problem(),
        })
    }
}

/// Scenario names become file names: no separators, no dots, no surprises.
pub(crate) fn is_slug(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    name.len() <= 64 && name.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "tiny"
        question = "Does it parse?"
        analysis = "It should."
        lanes = ["http1-per-request", "http1-persistent"]
        connections = [1]
        workload = { kind = "echo", payload = "binary", payload_bytes = 64 }
        load = { model = "closed" }
    "#;

    fn error(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        Scenario::parse(&GOOD.replace(from, to))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn impossible_values_name_their_field() {
        assert!(error("http1-per-request", "http9").contains("`http9`"));
        assert!(error("[1]", "[]").contains("`connections`"));
        assert!(error("[1]", "[0]").contains("`connections`"));
        assert!(error("[1]", "[1, 1]").contains("twice"));
        assert!(error("[1]", "[1]\ncpu_idle = []").contains("`cpu_idle`"));
        assert!(error("[1]", "[1]\ncpu_idle = \"asleep\"").contains("\"as-is\""));
        assert!(error("[1]", "[1]\ncpu_idle = [\"awake\", \"awake\"]").contains("twice"));
        assert!(error("\"tiny\"", "\"../tiny\"").contains("`name`"));
        assert!(error("http1-per-request", "http1-persistent").contains("twice"));
        assert!(error(r#"load = { model = "closed" }"#, "").contains("`load`"));
        assert!(error("64", "2000000").contains("`workload.payload_bytes`"));
        assert!(error("64 }", "64, exchanges_per_connection = 10 }").contains("persistent lanes"));
        assert!(error("connections = [1]", "connections = [1]\nblocks = 0").contains("`blocks`"));
        assert!(
            error("connections = [1]", "connections = [1]\noperations = 0")
                .contains("`operations`")
        );
        let few = "[1]\noperations = 10000\ntiming = { warm_up_ms = 0, window_ms = 9000 }";
        let open = r#"{ model = "open-constant", rate_per_second = 1000.0 }"#;
        let late = GOOD.replace(r#"{ model = "closed" }"#, open);
        let late = Scenario::parse(&late.replace("[1]", few))
            .unwrap_err()
            .to_string();
        assert!(
            late.contains("`operations`") && late.contains("about 9000"),
            "{late}"
        );
        let day = "[1]\ntiming = { window_ms = 86400000 }";
        Scenario::parse(&GOOD.replace("[1]", day)).unwrap();
        assert!(error("[1]", "[1]\ntiming = { window_ms = 86400001 }").contains("86400000"));
        let no_objective = r#"{ model = "capacity", p99_ms = 0.0 }"#;
        assert!(error(r#"{ model = "closed" }"#, no_objective).contains("`load.p99_ms`"));
        for rate in ["0.0", "-1.0", "nan", "inf"] {
            let load = format!("{{ model = \"open-poisson\", rate_per_second = {rate} }}");
            assert!(error(r#"{ model = "closed" }"#, &load).contains("`load.rate_per_second`"));
        }
        let short_poll = r#"{ kind = "updates", delivery = "short-poll", events_per_second = 10, payload_bytes = 8 }"#;
        assert!(
            error(
                r#"{ kind = "echo", payload = "binary", payload_bytes = 64 }"#,
                short_poll
            )
            .contains("`load.model`")
        );
        assert!(
            error(
                "connections = [1]",
                "connections = [1]\ntiming = { window_ms = 0 }"
            )
            .contains("window_ms")
        );
    }

    #[test]
    fn impossible_ways_of_learning_of_events_name_their_field() {
        const WAYS: &str = r#"
            name = "tiny"
            question = "Does it parse?"
            analysis = "It should."
            connections = [2]
            workload = { kind = "updates", events_per_second = 1.0, payload_bytes = 64 }
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = [100]
            lanes = ["http1-persistent"]
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
        "#;
        Scenario::parse(WAYS).unwrap();
        let error = |from: &str, to: &str| {
            assert!(WAYS.contains(from));
            let parsed = Scenario::parse(&WAYS.replacen(from, to, 1));
            parsed.unwrap_err().to_string()
        };
        for (from, to, told) in [
            ("[100]", "[0]", "interval"),
            ("[100]", "[]", "`deliveries.intervals_ms`"),
            ("[100]", "[100, 100]", "twice"),
            ("intervals_ms = [100]", "", "`deliveries.intervals_ms`"),
            (
                "events_per_second = 1.0",
                "events_per_second = 0.0",
                "events_per_second",
            ),
            (
                "events_per_second = 1.0",
                "events_per_second = 1e9",
                "events_per_second",
            ),
            ("\"push\"", "\"pigeon\"", "pigeon"),
        ] {
            let message = error(from, to);
            assert!(message.contains(told), "{to}: {message}");
        }
    }
}
