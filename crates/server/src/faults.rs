//! Faults a server can be given, so that the instrument can be tested against effects of known size.

use std::str::FromStr;

/// Known faults; none by default. Without any, an operation costs one branch more.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// CPU time burnt for each operation, before its reply.
    pub burn: Times,
    /// Instructions executed for each operation of http1, before its reply.
    pub burn_instructions: Instructions,
    /// Time waited for each operation, before its reply and after what is burnt: without using the CPU, and without
    /// holding up other connections.
    pub delay: Times,
    /// What makes replies longer.
    pub pad: Padding,
    /// The one time at which all workers stop for a while.
    pub stall: Option<Stall>,
    /// Determines the times drawn, together with the worker's index.
    pub seed: u64,
}

/// A time per operation for each transport, written `http1=NS,websocket=NS,tcp=NS`; any of them may be left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Times {
    /// For `/echo`, `/payload`, `/updates/poll`, `/updates/long-poll`, `/duplex/input` and `/duplex/snapshot`.
    pub http1: Option<Time>,
    /// For each message echoed over WebSocket.
    pub websocket: Option<Time>,
    /// For each message of the floor.
    pub tcp: Option<Time>,
}

/// A time per operation, written `NS` or `exp:NS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Time {
    /// The same for all operations.
    Constant {
        /// The time in nanoseconds.
        ns: u64,
    },
    /// Drawn for each operation from an exponential distribution.
    Exponential {
        /// The mean in nanoseconds.
        mean_ns: u64,
    },
}

/// What makes replies longer, written `http1=BYTES`. Only a reply with headers can be padded and still be right.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Padding {
    http1_bytes: Option<usize>,
}

impl Padding {
    /// Returns by how many bytes a reply of `/echo` is longer.
    pub const fn http1_bytes(&self) -> Option<usize> {
        self.http1_bytes
    }
}

/// Instructions per operation, written `http1=COUNT`: a cost that is the same on any machine, and next to no time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Instructions {
    http1: Option<u32>,
}

impl Instructions {
    /// Returns how many more an operation of http1 takes, to within a few.
    pub const fn http1(&self) -> Option<u32> {
        self.http1
    }
}

/// One time at which all workers stop for a while, written `AFTER_MS:FOR_MS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stall {
    /// From the beginning of the server's first operation to the stall.
    pub after_ms: u32,
    /// How long it lasts.
    pub for_ms: u32,
}

/// A fault that is not written as it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{part}` is not understood; use {form}")]
pub struct SyntaxError {
    part: String,
    form: &'static str,
}

impl FromStr for Times {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let mut times = Self::default();
        for part in text.split(',') {
            let wrong = || SyntaxError {
                part: part.into(),
                form: TIMES,
            };
            let (transport, time) = part.split_once('=').ok_or_else(wrong)?;
            let place = match transport {
                "http1" => &mut times.http1,
                "websocket" => &mut times.websocket,
                "tcp" => &mut times.tcp,
                _ => return Err(wrong()),
            };
            if place.replace(time.parse().map_err(|_| wrong())?).is_some() {
                return Err(wrong());
            }
        }
        Ok(times)
    }
}

impl FromStr for Time {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let (is_drawn, number) = match text.strip_prefix("exp:") {
            Some(mean) => (true, mean),
            None => (false, text),
        };
        let ns = number
            .parse()
            .ok()
            .filter(|ns| *ns <= LONGEST_NS)
            .ok_or_else(|| SyntaxError {
                part: text.into(),
                form: TIME,
            })?;
        Ok(if is_drawn {
            Self::Exponential { mean_ns: ns }
        } else {
            Self::Constant { ns }
        })
    }
}

impl FromStr for Padding {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let bytes = text
            .strip_prefix("http1=")
            .and_then(|bytes| bytes.parse().ok())
            .filter(|bytes| (SHORTEST_HEADER..=LONGEST_PADDING).contains(bytes));
        match bytes {
            Some(_) => Ok(Self { http1_bytes: bytes }),
            None => Err(SyntaxError {
                part: text.into(),
                form: PADDING,
            }),
        }
    }
}

impl FromStr for Instructions {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let http1 = text
            .strip_prefix("http1=")
            .and_then(|count| count.parse().ok())
            .filter(|count| (1..=MOST_INSTRUCTIONS).contains(count));
        match http1 {
            Some(_) => Ok(Self { http1 }),
            None => Err(SyntaxError {
                part: text.into(),
                form: INSTRUCTIONS,
            }),
        }
    }
}

impl FromStr for Stall {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let parse = || {
            let (after, lasts) = text.split_once(':')?;
            Some(Self {
                after_ms: after.parse().ok()?,
                for_ms: lasts.parse().ok()?,
            })
        };
        parse().ok_or_else(|| SyntaxError {
            part: text.into(),
            form: STALL,
        })
    }
}

/// The length of a header with a name of one character and no value: `x`, colon, space, line end.
pub(crate) const SHORTEST_HEADER: usize = 5;
const LONGEST_PADDING: usize = 1000;
/// As long as an exchange may take by default.
const LONGEST_NS: u64 = 60_000_000_000;

const TIMES: &str = "http1=NS,websocket=NS,tcp=NS: any of them, each once, with NS up to 60000000000, \
    or exp:NS for times drawn with that mean";
const TIME: &str = "NS or exp:NS, with NS up to 60000000000";
const PADDING: &str = "http1=BYTES, with BYTES from 5 to 1000: only replies of http1 can be padded and still be right";
/// Less than a second of any CPU.
const MOST_INSTRUCTIONS: u32 = 1_000_000_000;
const INSTRUCTIONS: &str = "http1=COUNT, with COUNT from 1 to 1000000000";
const STALL: &str = "AFTER_MS:FOR_MS, e.g. 500:100";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = SyntaxError> + std::fmt::Debug>(text: &str, form: &str) {
        let message = text.parse::<T>().unwrap_err().to_string();
        assert!(
            message.contains(text) && message.contains(form),
            "{message}"
        );
    }

    #[test]
    fn times_are_per_transport() {
        let expected = Times {
            http1: Some(Time::Constant { ns: 5000 }),
            websocket: Some(Time::Exponential { mean_ns: 70 }),
            tcp: None,
        };
        assert_eq!("http1=5000,websocket=exp:70".parse(), Ok(expected.clone()));
        assert_eq!("websocket=exp:70,http1=5000".parse(), Ok(expected));
        let tcp: Times = "tcp=60000000000".parse().unwrap();
        assert_eq!(tcp.tcp, Some(Time::Constant { ns: LONGEST_NS }));
    }

    #[test]
    fn wrong_times_are_refused_with_the_right_form() {
        for text in [
            "",
            "5000",
            "http1",
            "http1=",
            "http1=-1",
            "http1=1.5",
            "http1=uni:5",
            "http1=60000000001",
            "http2=5",
        ] {
            refused::<Times>(text, "http1=NS,websocket=NS,tcp=NS");
        }
        let twice = "http1=1,http1=2".parse::<Times>().unwrap_err();
        assert!(twice.to_string().contains("`http1=2`"), "{twice}");
        refused::<Time>("exp:", "exp:NS");
    }

    #[test]
    fn padding_is_for_http_and_at_least_a_header() {
        let padding = |text: &str| text.parse::<Padding>().unwrap().http1_bytes();
        assert_eq!(padding("http1=5"), Some(5));
        assert_eq!(padding("http1=1000"), Some(1000));
        for text in ["http1=4", "http1=1001", "http1", "websocket=10", "tcp=10"] {
            refused::<Padding>(text, "only replies of http1");
        }
    }

    #[test]
    fn instructions_are_for_http_and_counted() {
        let count = |text: &str| text.parse::<Instructions>().unwrap().http1();
        assert_eq!(count("http1=300"), Some(300));
        for text in ["300", "http1=0", "http1=1000000001", "tcp=300"] {
            refused::<Instructions>(text, "http1=COUNT");
        }
    }

    #[test]
    fn a_stall_has_a_beginning_and_a_length() {
        let stall = Stall {
            after_ms: 500,
            for_ms: 100,
        };
        assert_eq!("500:100".parse(), Ok(stall));
        for text in ["", "500", "500:", ":100", "500:100:1", "-1:5"] {
            refused::<Stall>(text, "AFTER_MS:FOR_MS");
        }
    }
}
