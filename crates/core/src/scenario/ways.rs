//! The ways in which clients learn of events, messages and ticks: one variant of a scenario for
//! each, and what ways there are over which lanes.

use super::check::{MAX_MS, ScenarioError, require};
use super::{Delivery, Scenario, Way, Workload};
use crate::schedule::Load;

impl Scenario {
    /// Returns the scenario once for each way and interval of `deliveries`, with its lanes,
    /// delivery and load; just itself where there are none.
    pub(crate) fn variants(&self) -> Vec<Self> {
        if self.deliveries.is_empty() {
            return vec![self.clone()];
        }
        let short_ms =
            |interval_ms: Option<u64>| u32::try_from(interval_ms.unwrap_or(0)).unwrap_or(MAX_MS);
        let variant = |way: &Way, interval_ms: Option<u64>| {
            let mut variant = Self {
                lanes: way.lanes.clone(),
                deliveries: Vec::new(),
                ..self.clone()
            };
            match &mut variant.workload {
                Workload::Updates { delivery, .. } => {
                    *delivery = way.delivery;
                    variant.load = interval_ms.map_or(Load::Events {}, |interval_ms| {
                        Load::Interval { interval_ms }
                    });
                    // The first poll brings nothing: from then on each brings the news of a whole
                    // interval.
                    let warm_up_ms = &mut variant.timing.warm_up_ms;
                    *warm_up_ms = short_ms(interval_ms).max(*warm_up_ms);
                }
                Workload::Fanout {
                    delivery,
                    poll_interval_ms,
                    ..
                } => {
                    (*delivery, *poll_interval_ms) = (Some(way.delivery), interval_ms);
                    // The last message comes with a poll a whole interval later.
                    let drain_ms = &mut variant.timing.drain_ms;
                    *drain_ms = drain_ms.saturating_add(short_ms(interval_ms));
                }
                Workload::Duplex { delivery, .. } => *delivery = Some(way.delivery),
                Workload::Echo { .. } | Workload::Custom(_) => {}
            }
            variant
        };
        let variants = self.deliveries.iter().flat_map(|way| {
            let asks = way
                .intervals_ms
                .iter()
                .map(|interval_ms| Some(*interval_ms));
            let once = way.intervals_ms.is_empty().then_some(None);
            asks.chain(once)
                .map(|interval_ms| variant(way, interval_ms))
                .collect::<Vec<_>>()
        });
        variants.collect()
    }

    /// Checks that each lane has the way in which members of rooms and players learn of what
    /// happens.
    pub(super) fn check_delivery(&self) -> Result<(), ScenarioError> {
        let is_named = match self.workload {
            Workload::Fanout {
                delivery,
                poll_interval_ms,
                ..
            } => {
                self.check_polls(delivery, poll_interval_ms)?;
                true
            }
            Workload::Duplex { delivery, .. } => delivery.is_some(),
            _ => false,
        };
        self.lanes.iter().filter(|_| is_named).try_for_each(|lane| {
            let delivery = self.workload.delivery(lane);
            let pushes = delivery == Some(Delivery::Push);
            let is_socket = lane.transport == "websocket";
            require(pushes == is_socket, "lanes", || {
                let (name, has, other) = if is_socket {
                    (delivery.map_or("", Delivery::name), "only `push`", "an http1 lane")
                } else {
                    ("push", "`sse`, `long-poll` and `short-poll`", "a websocket lane")
                };
                format!(
                    "has `{lane}`, over which there is {has}: name {other} for `{name}`, or another \
                     `delivery`"
                )
            })
        })
    }

    fn check_polls(
        &self,
        delivery: Option<Delivery>,
        interval_ms: Option<u64>,
    ) -> Result<(), ScenarioError> {
        let field = "workload.poll_interval_ms";
        if delivery != Some(Delivery::ShortPoll) {
            return require(interval_ms.is_none(), field, || {
                "is for the `delivery` `short-poll`: leave it out".into()
            });
        }
        let range = 1..=u64::from(MAX_MS);
        let fits = interval_ms.is_some_and(|interval_ms| range.contains(&interval_ms));
        require(fits, field, || {
            format!("says how often a member asks: use 1 to {MAX_MS}")
        })?;
        let interval_ms = interval_ms.unwrap_or(0);
        let is_long = u64::from(self.timing.drain_ms) > interval_ms;
        require(is_long, "timing.drain_ms", || {
            format!(
                "is {}: the last messages come with polls up to {interval_ms} ms later; use more",
                self.timing.drain_ms
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_and_interval_is_a_variant_with_a_warm_up_that_covers_it() {
        let text = r#"
            name = "news"
            question = "Does it split?"
            analysis = "It should."
            connections = [2]
            workload = { kind = "updates", events_per_second = 1.0, payload_bytes = 8 }
            timing = { warm_up_ms = 200 }
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = [100, 3000]
            lanes = ["http1-persistent"]
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
        "#;
        let scenario = Scenario::parse(text).unwrap();
        let variants = scenario.variants();
        let warm_ups: Vec<_> = variants
            .iter()
            .map(|one| (one.load.model(), one.timing.warm_up_ms))
            .collect();
        assert_eq!(
            warm_ups,
            [("interval", 200), ("interval", 3000), ("events", 200)]
        );
        let wrong = |from: &str, to: &str| {
            let error = Scenario::parse(&text.replacen(from, to, 1)).unwrap_err();
            error.to_string()
        };
        assert!(wrong("[100, 3000]", "[]").contains("`deliveries.intervals_ms`"));
        assert!(wrong("[100, 3000]", "[0]").contains("`load.interval_ms`"));
        let same_lane =
            "\"short-poll\"\nintervals_ms = [50, 3000]\nlanes = [\"http1-persistent\"]\n#";
        assert!(wrong("\"push\"\n            lanes =", same_lane).contains("twice"));
        let other_lane =
            "\"short-poll\"\nintervals_ms = [3000]\nlanes = [\"http1-per-request\"]\n#";
        let split = text.replacen("\"push\"\n            lanes =", other_lane, 1);
        assert_eq!(Scenario::parse(&split).unwrap().variants().len(), 3);
        let echo = "\"echo\", payload = \"text\"";
        let echo = wrong("\"updates\", events_per_second = 1.0", echo);
        assert!(echo.contains("`deliveries`"));
        let lanes = wrong("connections", "lanes = [\"http1-persistent\"]\nconnections");
        assert!(lanes.contains("`lanes`"));
    }

    #[test]
    fn each_way_of_a_chat_is_a_variant_with_a_drain_that_covers_its_polls() {
        let text = r#"
            name = "chat"
            question = "Does it split?"
            analysis = "It should."
            connections = [4]
            workload = { kind = "fanout", room_members = 2, payload_bytes = 8 }
            load = { model = "per-client", rate_per_second = 1.0 }
            timing = { drain_ms = 100 }
            [[deliveries]]
            delivery = "push"
            lanes = ["websocket-persistent"]
            [[deliveries]]
            delivery = "short-poll"
            intervals_ms = [500, 2000]
            lanes = ["http1-per-request", "http1-persistent"]
            [[deliveries]]
            delivery = "sse"
            lanes = ["http1-persistent"]
        "#;
        let variants = Scenario::parse(text).unwrap().variants();
        let told: Vec<_> = variants
            .iter()
            .map(|one| {
                let delivery = one.workload.delivery(&one.lanes[0]).unwrap();
                let speaks_apart = one.workload.speaks_apart(&one.lanes[0]);
                (
                    delivery.name(),
                    one.load.model(),
                    one.timing.drain_ms,
                    speaks_apart,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("push", "per-client", 100, false),
                ("short-poll", "per-client", 600, true),
                ("short-poll", "per-client", 2100, true),
                ("sse", "per-client", 100, true),
            ]
        );
    }

    #[test]
    fn impossible_ways_of_chatting_and_playing_name_their_field_and_the_remedy() {
        let scenario = |workload: &str, rest: &str| {
            let text = format!(
                r#"
                name = "tiny"
                question = "Does it parse?"
                analysis = "It should."
                connections = [4]
                load = {{ model = "per-client", rate_per_second = 1.0 }}
                timing = {{ drain_ms = 500 }}
                workload = {{ {workload} }}
                {rest}
                "#
            );
            Scenario::parse(&text).map_err(|error| error.to_string())
        };
        let chat = r#"kind = "fanout", payload_bytes = 8"#;
        let game =
            r#"kind = "duplex", ticks_per_second = 20.0, snapshot_bytes = 8, input_bytes = 8"#;
        let http = r#"lanes = ["http1-persistent"]"#;
        let socket = r#"lanes = ["websocket-persistent"]"#;
        let both = r#"lanes = ["http1-persistent", "websocket-persistent"]"#;
        let with = |workload: &str, more: &str| format!("{workload}, {more}");
        let polls = r#"delivery = "short-poll", poll_interval_ms = 400"#;
        for (workload, lanes) in [
            (chat.to_owned(), socket),
            (with(chat, r#"delivery = "push""#), socket),
            (with(chat, r#"delivery = "sse""#), http),
            (with(chat, r#"delivery = "long-poll""#), http),
            (with(chat, polls), http),
            (game.to_owned(), both),
            (with(game, r#"delivery = "sse""#), http),
            (with(game, r#"delivery = "short-poll""#), http),
        ] {
            scenario(&workload, lanes).unwrap();
        }
        for (workload, rest, told) in [
            (chat.to_owned(), http, "`sse`, `long-poll` and `short-poll`"),
            (
                with(chat, r#"delivery = "sse""#),
                socket,
                "name an http1 lane for `sse`",
            ),
            (
                with(game, r#"delivery = "push""#),
                both,
                "name a websocket lane for `push`",
            ),
            (with(game, r#"delivery = "long-poll""#), both, "only `push`"),
            (
                with(chat, r#"delivery = "short-poll""#),
                http,
                "`workload.poll_interval_ms`",
            ),
            (
                with(chat, r#"delivery = "short-poll", poll_interval_ms = 0"#),
                http,
                "`workload.poll_interval_ms`",
            ),
            (
                with(chat, r#"delivery = "sse", poll_interval_ms = 10"#),
                http,
                "leave it out",
            ),
            (
                with(chat, r#"delivery = "short-poll", poll_interval_ms = 500"#),
                http,
                "`timing.drain_ms`",
            ),
            (
                game.to_owned(),
                "[[deliveries]]\ndelivery = \"short-poll\"\nintervals_ms = [50]\nlanes = [\"http1-persistent\"]",
                "players poll once a tick",
            ),
            (
                chat.to_owned(),
                "[[deliveries]]\ndelivery = \"sse\"\nlanes = [\"websocket-persistent\"]",
                "name an http1 lane for `sse`",
            ),
        ] {
            let message = scenario(&workload, rest).unwrap_err();
            assert!(message.contains(told), "{workload}: {message}");
        }
    }
}
