//! From how many messages on a kept connection beats one connection per message, or another kept one: computed from
//! measured costs, and checked against trials whose connections lived for a known number of exchanges.
//!
//! The first exchange on a connection costs more than a later one. A connection's own cost is therefore what an operation
//! on a fresh connection takes, all included, less a message on an open one: n messages then take that and n messages.

use std::collections::BTreeMap;

use sockrates_core::lane::Lifecycle;
use sockrates_core::scenario::Workload;
use sockrates_core::summary::{BreakEven, BreakEvenPoint, Crossing, Estimate};

use crate::basis::Basis;
use crate::comparison::{middle, middle_holding, typical};
use crate::metrics;
use crate::view::{CellView, LoadPoint, Trial, View};

/// The kept lane, and what it is compared with. A kept lane against its own transport with a connection per message is
/// left out: for one message they do the same, and for more the kept one does less.
const PAIRS: [(&str, &str, Lifecycle); 3] = [
    ("websocket", "http1", Lifecycle::PerRequest),
    ("http1", "websocket", Lifecycle::PerRequest),
    ("websocket", "http1", Lifecycle::Persistent),
];

/// Returns the break-evens at closed echoes of one connection, where the time per message is the reciprocal of throughput.
pub(crate) fn all(view: &View<'_>) -> Vec<BreakEven> {
    let points = view.load_points();
    let simple = |point: &&LoadPoint<'_>| {
        point.is_closed() && point.is_plain_echo() && point.cell().connections == 1
    };
    let mut found = Vec::new();
    for point in points.iter().filter(simple) {
        let basis = Basis::of(point, metrics::THROUGHPUT);
        let pairs = PAIRS.iter();
        found.extend(pairs.filter_map(|pair| between(view, point, &basis, *pair)));
    }
    found
}

/// What connections and messages of one lane take, in nanoseconds: per block, and typically.
struct Costs {
    blocks: BTreeMap<u32, (f64, f64)>,
    set_up_ns: f64,
    message_ns: f64,
}

impl Costs {
    /// Of a kept lane, whose connections cost what those of its transport's other lane do.
    fn kept(basis: &Basis<'_>, opened: &CellView<'_>, kept: &CellView<'_>) -> Option<Self> {
        let (whole_ns, message_ns) = (time(basis, opened)?, time(basis, kept)?);
        let wholes = per_block(opened, time_per_message);
        let messages = per_block(kept, time_per_message).into_iter();
        let blocks = messages
            .filter_map(|(block, message)| Some((block, (wholes.get(&block)? - message, message))));
        Some(Self {
            blocks: blocks.collect(),
            set_up_ns: whole_ns - message_ns,
            message_ns,
        })
    }

    /// Of a lane that opens a connection per message: all of it is the message's.
    fn fresh(basis: &Basis<'_>, cell: &CellView<'_>) -> Option<Self> {
        let messages = per_block(cell, time_per_message).into_iter();
        Some(Self {
            blocks: messages
                .map(|(block, message)| (block, (0.0, message)))
                .collect(),
            set_up_ns: 0.0,
            message_ns: time(basis, cell)?,
        })
    }

    fn set_up(&self) -> Option<Estimate> {
        let values: Vec<f64> = self.blocks.values().map(|(set_up, _)| *set_up).collect();
        middle_holding(&values, self.set_up_ns)
    }

    fn message(&self) -> Option<Estimate> {
        let values: Vec<f64> = self.blocks.values().map(|(_, message)| *message).collect();
        let direct = typical(&values)?;
        Some(Estimate {
            value: self.message_ns,
            low: direct.low.min(self.message_ns),
            high: direct.high.max(self.message_ns),
        })
    }
}

fn time(basis: &Basis<'_>, cell: &CellView<'_>) -> Option<f64> {
    Some(1e9 / basis.value(cell)?)
}

fn between(
    view: &View<'_>,
    point: &LoadPoint<'_>,
    basis: &Basis<'_>,
    (kept, other, lifecycle): (&str, &str, Lifecycle),
) -> Option<BreakEven> {
    let of =
        |transport: &str, lifecycle: Lifecycle| point.lane(&format!("{transport}-{lifecycle}"));
    let kept_cell = of(kept, Lifecycle::Persistent)?;
    let costs = Costs::kept(basis, of(kept, Lifecycle::PerRequest)?, kept_cell)?;
    let other_cell = of(other, lifecycle)?;
    let others = match lifecycle {
        Lifecycle::PerRequest => Costs::fresh(basis, other_cell)?,
        Lifecycle::Persistent => Costs::kept(basis, of(other, Lifecycle::PerRequest)?, other_cell)?,
    };
    let (crossing, messages) = crossing(&costs, &others);
    let is_kept = lifecycle == Lifecycle::Persistent;
    Some(BreakEven {
        scenario: point.cell().scenario.clone(),
        kept: kept_cell.cell.lane.clone(),
        fresh: other_cell.cell.lane.clone(),
        messages,
        crossing,
        measured: measured(view, kept_cell, &costs),
        set_up_ns: costs.set_up()?,
        message_ns: costs.message()?,
        fresh_ns: others.message()?,
        fresh_set_up_ns: if is_kept { others.set_up() } else { None },
    })
}

/// Finds where the costs of n messages meet. Where one lane is the cheaper from the first message on there is nothing to
/// meet, and where the blocks leave that open there is nothing to say.
fn crossing(kept: &Costs, other: &Costs) -> (Crossing, Option<Estimate>) {
    let of_blocks = |of: &dyn Fn((f64, f64), (f64, f64)) -> f64| -> Vec<f64> {
        let both = kept.blocks.iter();
        both.filter_map(|(block, costs)| Some(of(*costs, *other.blocks.get(block)?)))
            .collect()
    };
    // By how much the kept lane's first message is dearer, and by how much each later one is cheaper.
    let dearer = of_blocks(&|kept, other| kept.0 + kept.1 - other.0 - other.1);
    let saving = of_blocks(&|kept, other| other.1 - kept.1);
    let (Some(first), Some(later)) = (middle(&dearer), middle(&saving)) else {
        return (Crossing::Unclear, None);
    };
    if first.high < 0.0 && later.low > 0.0 {
        return (Crossing::Always, None);
    }
    if first.low > 0.0 && later.high < 0.0 {
        return (Crossing::Never, None);
    }
    // How many set-ups one message saves: its reciprocal is the break-even. Unlike that it passes through 0 smoothly.
    let set_up = of_blocks(&|kept, other| kept.0 - other.0);
    if first.low <= 0.0 || later.low <= 0.0 || set_up.iter().any(|ns| *ns <= 0.0) {
        return (Crossing::Unclear, None);
    }
    let shares: Vec<f64> = saving.iter().zip(&set_up).map(|(a, b)| a / b).collect();
    let value = (other.message_ns - kept.message_ns) / (kept.set_up_ns - other.set_up_ns);
    match middle_holding(&shares, value).filter(|share| share.low > 0.0) {
        Some(share) => {
            let messages = Estimate {
                value: 1.0 / share.value,
                low: (1.0 / share.high).max(1.0),
                high: 1.0 / share.low,
            };
            (Crossing::Found, Some(messages))
        }
        None => (Crossing::Unclear, None),
    }
}

/// Finds the trials of the same lane and payload whose connections lived for a known number of exchanges.
fn measured(view: &View<'_>, kept: &CellView<'_>, costs: &Costs) -> Vec<BreakEvenPoint> {
    let mut points: Vec<_> = view
        .cells
        .iter()
        .filter(|cell| {
            let cell = cell.cell;
            cell.lane == kept.cell.lane
                && cell.connections == 1
                && cell.load == kept.cell.load
                && cell.operations.is_none()
                && cell.workload.payload_bytes() == kept.cell.workload.payload_bytes()
        })
        .filter_map(|cell| {
            let Workload::Echo {
                exchanges_per_connection: Some(exchanges),
                ..
            } = cell.cell.workload
            else {
                return None;
            };
            let values: Vec<_> = per_block(cell, time_per_message).into_values().collect();
            let measured_ns = typical(&values)?;
            let expected_ns = costs.set_up_ns / f64::from(exchanges) + costs.message_ns;
            Some(BreakEvenPoint {
                exchanges,
                measured_ns,
                expected_ns,
                agrees: (measured_ns.low..=measured_ns.high).contains(&expected_ns),
            })
        })
        .collect();
    points.sort_by_key(|point| point.exchanges);
    points
}

/// Returns what follows from the rate of each trial in which that is unharmed.
fn per_block(cell: &CellView<'_>, value: fn(&Trial<'_>) -> Option<f64>) -> BTreeMap<u32, f64> {
    let of = |trial: &Trial<'_>| Some((trial.record.spec.block, value(trial)?));
    cell.unharmed(metrics::THROUGHPUT).filter_map(of).collect()
}

/// The mean time per message of one connection's closed loop, everything included.
fn time_per_message(trial: &Trial<'_>) -> Option<f64> {
    Some(1e9 / trial.throughput().filter(|rate| *rate > 0.0)?)
}
