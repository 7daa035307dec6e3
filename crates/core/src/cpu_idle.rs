//! Whether the CPUs of a trial may halt between two messages. A halted CPU takes a while to wake, tens of microseconds in
//! many virtual machines, and a load that leaves CPUs idle pays for that in nearly every operation.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What CPUs do while there is nothing to do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuIdle {
    /// Whatever the machine has them do: mostly they halt.
    #[default]
    AsIs,
    /// They never halt: a thread of idle priority runs on each of them while nothing else does.
    Awake,
}

impl CpuIdle {
    /// Returns the name used in scenario files and cell ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::Awake => "awake",
        }
    }
}

impl fmt::Display for CpuIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was done about idle CPUs in a trial that asked for it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct CpuIdleFacts {
    /// What the trial asked for.
    pub asked: CpuIdle,
    /// What it got, from before the server's start to behind its end.
    pub achieved: CpuIdle,
    /// CPU time of the threads that kept CPUs awake, while the machine was watched. It is on nobody's account.
    pub spinner_cpu_ns: u64,
    /// Why the CPUs were not kept awake; null when they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// The only entry of a list that is left out.
pub(crate) fn default_list() -> Vec<CpuIdle> {
    vec![CpuIdle::AsIs]
}

pub(crate) fn is_default(list: &[CpuIdle]) -> bool {
    list == [CpuIdle::AsIs]
}

/// Reads one name, or a list of them.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<CpuIdle>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected \"awake\", \"as-is\", or a list of both"
    )]
    enum OneOrMany {
        One(CpuIdle),
        Many(Vec<CpuIdle>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// As [`deserialize`], where the list may be absent.
pub(crate) fn deserialize_some<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<CpuIdle>>, D::Error> {
    deserialize(deserializer).map(Some)
}

/// Writes the only entry as a name, and several as a list.
pub(crate) fn serialize<S: Serializer>(list: &[CpuIdle], serializer: S) -> Result<S::Ok, S::Error> {
    match list {
        [one] => one.serialize(serializer),
        many => many.serialize(serializer),
    }
}
