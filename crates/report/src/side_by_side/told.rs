//! What a comparison of runs or lanes found, as findings: they are put into words where those of runs are.

use sockrates_core::finding::{Effect, Estimator, Finding, Part, Reason, Scope};
use sockrates_core::summary::Verdict;

use super::points::{Compared, Counted, Point};
use super::{Kind, SideBySide};
use crate::findings::differences::part;

impl SideBySide {
    /// Returns what was counted, what was timed, and what could not be told, load point by load point.
    pub fn findings(&self) -> Vec<Finding> {
        let of_point = |point| {
            let counts = Point::counts(point).map(move |row| self.count(point, row));
            let rows = point.comparisons.iter();
            counts.chain(rows.map(move |row| self.timed(point, row)))
        };
        let mut findings: Vec<Finding> = self.load_points.iter().flat_map(of_point).collect();
        findings.sort_by_key(|finding| finding.part);
        findings
    }

    fn plain(&self, point: &Point, effect: Effect, verdict: Verdict) -> Finding {
        Finding {
            part: part(verdict),
            effect,
            scope: Scope {
                scenario: point.scenario.clone(),
                load: point.load.clone(),
                network: "loopback".to_owned(),
                payload_bytes: point.payload_bytes,
            },
            is_leading: true,
            estimate: None,
            unit: None,
            values: None,
            verdict: Some(verdict),
            estimator: match self.kind {
                Kind::Runs => Estimator::BetweenRuns,
                Kind::Lanes => Estimator::WithinBlocks,
            },
            bound: None,
            blocks_needed: None,
            reason: None,
            two_modes: Vec::new(),
            cells: Vec::new(),
        }
    }

    fn count(&self, point: &Point, row: &Counted) -> Finding {
        let what = match self.kind {
            Kind::Runs => row.lane_b.to_string(),
            Kind::Lanes => format!("{} after {}", row.lane_b, row.lane_a),
        };
        let effect = Effect::Change {
            what,
            metric: row.count.to_owned(),
        };
        let made = self.plain(point, effect, row.verdict);
        let is_known = row.verdict != Verdict::Inconclusive;
        Finding {
            part: if is_known {
                Part::Everywhere
            } else {
                Part::NotTold
            },
            is_leading: self.kind == Kind::Lanes || row.verdict != Verdict::Equivalent,
            values: is_known.then_some((row.b_per_operation, row.a_per_operation)),
            estimator: Estimator::Count,
            ..made
        }
    }

    fn timed(&self, point: &Point, row: &Compared) -> Finding {
        let effect = match self.kind {
            Kind::Lanes => Effect::Difference {
                lane: row.name.clone(),
                reference: row.lane_a.to_string(),
                metric: row.metric.clone(),
                is_null: false,
            },
            Kind::Runs => Effect::Change {
                what: match &row.relative_to {
                    Some(reference) => format!("{} as a multiple of {reference}", row.name),
                    None => row.name.clone(),
                },
                metric: row.metric.clone(),
            },
        };
        let verdict = match row.ratio {
            Some(_) => row.verdict(),
            None => Verdict::Inconclusive,
        };
        let made = self.plain(point, effect, verdict);
        let is_open = made.part == Part::NotTold;
        let is_conclusive = self.a.is_conclusive && self.b.is_conclusive;
        Finding {
            is_leading: row.relative_to.is_none() || !self.is_absolute && row.is_main(),
            estimate: row.ratio,
            unit: row.unit(),
            values: row.values.map(|(a, b)| (b, a)),
            bound: row
                .ratio
                .filter(|_| is_open && is_conclusive)
                .map(|ratio| ratio.high.max(1.0 / ratio.low)),
            reason: match row.ratio {
                None => Some(Reason::FewBlocks),
                Some(_) => (!is_conclusive).then_some(Reason::Unjudged),
            }
            .filter(|_| is_open),
            cells: row.cells(),
            ..made
        }
    }
}
