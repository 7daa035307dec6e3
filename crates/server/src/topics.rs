//! All topics by name.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, RwLock};

use sockrates_core::publishing::{Arrivals, TopicSpec};
use sockrates_core::target::DEFAULT_TOPIC;

use crate::Publisher;
use crate::clockwork::Agenda;
use crate::reply::Refusal;
use crate::topic::Topic;

/// The topics that there are, and who publishes them.
#[derive(Debug)]
pub(crate) struct Topics {
    by_name: RwLock<HashMap<String, Arc<Topic>>>,
    /// One for each worker; topics are dealt to them in turn.
    agendas: Vec<Agenda>,
    dealt: AtomicUsize,
}

/// What a topic is after it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Made {
    New,
    Replaced,
}

impl Topics {
    pub(crate) fn new(workers: usize, publisher: &Publisher) -> Self {
        let topics = Self {
            by_name: RwLock::default(),
            agendas: (0..workers).map(|_| Agenda::default()).collect(),
            dealt: AtomicUsize::new(0),
        };
        let spec = TopicSpec {
            events_per_second: publisher.events_per_second,
            arrivals: Arrivals::Poisson,
            payload_bytes: publisher.payload_bytes,
            seed: publisher.seed,
        };
        topics
            .make(DEFAULT_TOPIC, spec)
            .expect("room for the first topic");
        topics
    }

    /// Returns the topic of this name.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        let by_name = self.by_name.read().expect(NO_PANIC);
        by_name
            .get(name)
            .cloned()
            .ok_or(Refusal::Unknown("no such topic\n"))
    }

    /// Makes a topic. One of the same name is over then.
    pub(crate) fn make(&self, name: &str, spec: TopicSpec) -> Result<Made, Refusal> {
        let topic = Arc::new(Topic::new(name));
        let mut by_name = self.by_name.write().expect(NO_PANIC);
        if by_name.len() >= MAX_TOPICS && !by_name.contains_key(name) {
            return Err(Refusal::Full("too many topics\n"));
        }
        let former = by_name.insert(name.to_owned(), Arc::clone(&topic));
        drop(by_name);
        if spec.events_per_second > 0.0 {
            self.agenda(self.dealt.fetch_add(1, Relaxed))
                .add(topic, spec);
        }
        Ok(former.map_or(Made::New, |former| {
            former.end();
            Made::Replaced
        }))
    }

    /// Returns the agenda of a worker.
    pub(crate) fn agenda(&self, worker: usize) -> &Agenda {
        &self.agendas[worker % self.agendas.len()]
    }
}

/// Ten times what a measurement needs.
pub(crate) const MAX_TOPICS: usize = 16_384;
const NO_PANIC: &str = "nothing panics while it holds the topics";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_not_more_topics_than_may_be() {
        let topics = Topics::new(1, &Publisher::default());
        let spec = TopicSpec::parse("rate=0").unwrap();
        for index in 1..MAX_TOPICS {
            assert_eq!(topics.make(&format!("t{index}"), spec), Ok(Made::New));
        }
        assert_eq!(
            topics.make("more", spec),
            Err(Refusal::Full("too many topics\n"))
        );
        assert_eq!(topics.make("t1", spec), Ok(Made::Replaced));
    }
}
