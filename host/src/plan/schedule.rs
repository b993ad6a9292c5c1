//! When iterations are due and how many VUs there are, as pure functions of the plan.
//!
//! Nothing is accumulated: arrival n is computed from n, and the number of VUs from the instant, so
//! that no error grows with the length of a run and any share of it can be computed alone. The only
//! sequence is that of Poisson gaps, which is one for all segments.
//!
//! Intervals are half open. Arrival n is due when the integral of the rate leaves n, so that a plan
//! of 10/s for 1 s has the ten arrivals 0, 0.1 … 0.9 s, and an arrival never falls into a stretch of
//! rate 0. Times are rounded to the nearest nanosecond.

use rand::SeedableRng;
use rand_distr::Distribution;
use rand_pcg::Pcg64Mcg;

use crate::clock::Instant;

use super::{Executor, Pacing, Segment};

const SECOND: f64 = 1e9;

/// The due times of an arrival-rate executor, relative to its scenario's start.
///
/// The n-th arrival of the whole plan (from 0) is due when the integral of the rate reaches n; a
/// segment owns the n with `n % count == index`.
#[derive(Clone, Debug)]
pub struct ArrivalSchedule {
    segment: Segment,
    profile: RateProfile,
    gaps: Gaps,
    /// Number of the next arrival of this segment.
    number: u64,
}

/// Where an arrival's share of the integral comes from.
#[derive(Clone, Debug)]
enum Gaps {
    /// Arrival n has integral n.
    Uniform,
    /// Arrival n has the sum of n + 1 exponential gaps.
    Poisson(PoissonGaps),
}

/// A unit-rate Poisson process: the same sequence whatever the segment.
#[derive(Clone, Debug)]
struct PoissonGaps {
    seed: u64,
    random: Pcg64Mcg,
    /// Arrivals drawn so far.
    drawn: u64,
    /// Position of the last one drawn.
    position: f64,
}

impl PoissonGaps {
    fn new(seed: u64) -> Self {
        Self { seed, random: Pcg64Mcg::seed_from_u64(seed), drawn: 0, position: 0.0 }
    }

    /// Position of arrival `number`, which must not lie before the last one asked for.
    fn position_of(&mut self, number: u64) -> f64 {
        while self.drawn <= number {
            let gap: f64 = rand_distr::Exp1.sample(&mut self.random);
            self.position += gap;
            self.drawn += 1;
        }
        self.position
    }
}

impl ArrivalSchedule {
    /// The schedule of an arrival-rate executor; `None` for the others. `seed` is used by Poisson
    /// arrivals only ([`super::Scenario::arrivals`] mixes the scenario's name into the run's).
    pub fn new(executor: &Executor, segment: Segment, seed: u64) -> Option<Self> {
        let (profile, arrival) = match executor {
            Executor::ConstantArrivalRate { rate, time_unit, duration, arrival } => {
                let per_second = rate / time_unit.as_secs_f64();
                let stages = [(duration.as_nanos() as u64, per_second)];
                (RateProfile::new(per_second, stages), arrival)
            }
            Executor::RampingArrivalRate { start_rate, time_unit, stages, arrival } => {
                let unit = time_unit.as_secs_f64();
                let stages = stages
                    .iter()
                    .map(|stage| (stage.duration.as_nanos() as u64, stage.target / unit));
                (RateProfile::new(start_rate / unit, stages), arrival)
            }
            _ => return None,
        };
        let gaps = match arrival.pacing {
            Pacing::Uniform => Gaps::Uniform,
            Pacing::Poisson => Gaps::Poisson(PoissonGaps::new(seed)),
        };
        Some(Self { segment, profile, gaps, number: u64::from(segment.index) })
    }

    /// Number (scenario-wide), due time and stage index of the next arrival of this segment.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would hide the arrival's number"
    )]
    pub fn next(&mut self) -> Option<(u64, Instant, usize)> {
        let number = self.number;
        let integral = match &mut self.gaps {
            Gaps::Uniform => number as f64,
            Gaps::Poisson(gaps) => gaps.position_of(number),
        };
        let due = self.profile.reaches(integral)?;
        self.number = number.saturating_add(u64::from(self.segment.count));
        Some((number, Instant::from_nanos(due), self.profile.stage_at(due)))
    }

    /// How many arrivals this segment has in all. Poisson arrivals are counted one by one.
    pub fn planned(&self) -> u64 {
        let whole = match &self.gaps {
            Gaps::Uniform => self.profile.uniform_arrivals(),
            Gaps::Poisson(gaps) => {
                let (mut gaps, mut arrivals) = (PoissonGaps::new(gaps.seed), 0);
                while self.profile.reaches(gaps.position_of(arrivals)).is_some() {
                    arrivals += 1;
                }
                arrivals
            }
        };
        self.segment.share(whole)
    }

    /// Stage index at an instant; the last stage's from the end on.
    pub fn stage_at(&self, at: Instant) -> usize {
        self.profile.stage_at(at.as_nanos())
    }

    /// Arrivals per second that are asked for at an instant; 0 from the end on.
    pub fn rate_at(&self, at: Instant) -> f64 {
        self.profile.rate_at(at.as_nanos())
    }
}

/// A rate over time, from 0, made of stages between whose ends it is linear.
#[derive(Clone, Debug)]
struct RateProfile {
    /// The stretches with a positive rate, in order.
    pieces: Vec<RatePiece>,
    /// End of each stage, nanoseconds.
    stage_ends: Vec<u64>,
}

/// A stretch in which the rate is linear and not 0 throughout.
#[derive(Clone, Copy, Debug)]
struct RatePiece {
    /// Nanoseconds.
    start: u64,
    /// Nanoseconds, not 0.
    length: u64,
    /// Per second, at its start.
    from: f64,
    /// Per second, at its end.
    to: f64,
    /// Integral at its start.
    before: f64,
    /// Integral at its end, larger.
    after: f64,
}

impl RateProfile {
    /// Stages are (nanoseconds, rate per second at the end).
    fn new(start_rate: f64, stages: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let (mut pieces, mut stage_ends) = (Vec::new(), Vec::new());
        let (mut at, mut rate, mut integral) = (0_u64, start_rate, 0.0);
        for (length, target) in stages {
            let after = whole(integral + f64::midpoint(rate, target) * (length as f64 / SECOND));
            if after > integral {
                let (start, from, to, before) = (at, rate, target, integral);
                pieces.push(RatePiece { start, length, from, to, before, after });
                integral = after;
            }
            (at, rate) = (at.saturating_add(length), target);
            stage_ends.push(at);
        }
        Self { pieces, stage_ends }
    }

    fn end(&self) -> u64 {
        self.stage_ends.last().copied().unwrap_or(0)
    }

    /// When the integral leaves `integral`, in nanoseconds; `None` if not before the end.
    fn reaches(&self, integral: f64) -> Option<u64> {
        let index = self.pieces.partition_point(|piece| piece.after <= integral);
        let due = self.pieces.get(index)?.reaches(integral);
        (due < self.end()).then_some(due)
    }

    /// How many whole numbers the integral leaves before the end.
    fn uniform_arrivals(&self) -> u64 {
        let total = self.pieces.last().map_or(0.0, |piece| piece.after);
        let mut arrivals = total.ceil() as u64;
        // The last one may be due so near to the end that it rounds to it.
        while arrivals > 0 && self.reaches((arrivals - 1) as f64).is_none() {
            arrivals -= 1;
        }
        arrivals
    }

    fn stage_at(&self, at: u64) -> usize {
        let index = self.stage_ends.partition_point(|end| *end <= at);
        index.min(self.stage_ends.len().saturating_sub(1))
    }

    fn rate_at(&self, at: u64) -> f64 {
        let holds = |piece: &&RatePiece| piece.start <= at && at - piece.start < piece.length;
        self.pieces.iter().find(holds).map_or(0.0, |piece| {
            let share = (at - piece.start) as f64 / piece.length as f64;
            (piece.to - piece.from).mul_add(share, piece.from)
        })
    }
}

impl RatePiece {
    /// When the integral is `integral`, which lies between `before` and `after`.
    ///
    /// The parabola is solved from the end at which the rate is lower, where all terms are positive:
    /// solved from the other end, a ramp down to 0 would lose half of the digits.
    fn reaches(&self, integral: f64) -> u64 {
        let seconds = self.length as f64 / SECOND;
        let rising = self.to >= self.from;
        let area = if rising { integral - self.before } else { self.after - integral };
        let area = area.max(0.0);
        let slow = self.from.min(self.to);
        let acceleration = (self.to - self.from).abs() / seconds;
        let root = slow.mul_add(slow, 2.0 * acceleration * area).sqrt();
        let nanos = if area == 0.0 { 0.0 } else { 2.0 * area * SECOND / (slow + root) };
        let nanos = (nanos.round() as u64).min(self.length);
        self.start + if rising { nanos } else { self.length - nanos }
    }
}

/// The nearest whole number where `integral` misses it only by the rounding of a few additions;
/// else `integral`. Without this, an arrival that is due at the very start of a pause could slip to
/// its end.
fn whole(integral: f64) -> f64 {
    let nearest = integral.round();
    if (integral - nearest).abs() <= 1e-13 * nearest.max(1.0) { nearest } else { integral }
}

/// The number of VUs over time of a closed-model executor, relative to its scenario's start.
///
/// The rule is k6's: a VU is added when the line between two targets reaches its number, and removed
/// when the line has come down to the number before it; so the number is the line's value, rounded
/// down on a rising stage and up on a falling one. From the end of the last stage on, the number
/// stays at the last target: ending the scenario is the executor's part.
#[derive(Clone, Debug)]
pub struct VuSchedule {
    segment: Segment,
    /// Before the first stage.
    start: u32,
    stages: Vec<VuLine>,
}

/// A stage of a [`VuSchedule`].
#[derive(Clone, Copy, Debug)]
struct VuLine {
    /// Nanoseconds.
    start: u64,
    /// Nanoseconds.
    end: u64,
    from: u32,
    to: u32,
}

impl VuSchedule {
    /// The schedule of a closed-model executor; `None` for the others.
    pub fn new(executor: &Executor, segment: Segment) -> Option<Self> {
        let (start, stages) = match executor {
            Executor::SharedIterations { vus, .. }
            | Executor::PerVuIterations { vus, .. }
            | Executor::ConstantVus { vus, .. } => (*vus, Vec::new()),
            Executor::RampingVus { start_vus, stages, .. } => {
                let mut lines = Vec::with_capacity(stages.len());
                let (mut at, mut vus) = (0_u64, *start_vus);
                for stage in stages {
                    let end = at.saturating_add(stage.duration.as_nanos() as u64);
                    lines.push(VuLine { start: at, end, from: vus, to: stage.target });
                    (at, vus) = (end, stage.target);
                }
                (*start_vus, lines)
            }
            _ => return None,
        };
        Some(Self { segment, start, stages })
    }

    /// VUs of this segment at an instant.
    pub fn vus_at(&self, at: Instant) -> u32 {
        self.share(self.whole_at(at.as_nanos()))
    }

    /// The next instant after `after` at which this segment's number changes, and the number from
    /// then on; `None` when it stays as it is.
    pub fn next_change(&self, after: Instant) -> Option<(Instant, u32)> {
        let after = after.as_nanos();
        let current = self.share(self.whole_at(after));
        let first = self.stages.partition_point(|stage| stage.end <= after);
        for stage in &self.stages[first..] {
            let begin = stage.start.max(after);
            let change = if self.share(self.whole_at(begin)) != current {
                begin
            } else if let Some(vus) = stage.vus_after(begin, self.segment) {
                stage.time_of(vus)
            } else {
                continue;
            };
            let vus = self.share(self.whole_at(change));
            if vus != current {
                return Some((Instant::from_nanos(change), vus));
            }
        }
        None
    }

    /// Stage index at an instant; the last stage's from the end on.
    pub fn stage_at(&self, at: Instant) -> usize {
        let index = self.stages.partition_point(|stage| stage.end <= at.as_nanos());
        index.min(self.stages.len().saturating_sub(1))
    }

    fn share(&self, vus: u32) -> u32 {
        self.segment.share(u64::from(vus)) as u32
    }

    fn whole_at(&self, at: u64) -> u32 {
        let index = self.stages.partition_point(|stage| stage.end <= at);
        match self.stages.get(index) {
            Some(stage) => stage.vus_at(at),
            None => self.stages.last().map_or(self.start, |stage| stage.to),
        }
    }
}

impl VuLine {
    /// The whole plan's VUs at an instant within the stage, `start <= at < end`.
    fn vus_at(&self, at: u64) -> u32 {
        let (length, left) = (self.end - self.start, self.end - at);
        let height = u128::from(self.from.abs_diff(self.to));
        let missing = (u128::from(left) * height).div_ceil(u128::from(length)) as u32;
        if self.to >= self.from { self.to - missing } else { self.to + missing }
    }

    /// The first number of VUs after that at `at` that changes the segment's share.
    fn vus_after(&self, at: u64, segment: Segment) -> Option<u32> {
        if at >= self.end {
            return None;
        }
        let (count, index) = (segment.count, segment.index);
        let now = self.vus_at(at);
        // VU i (from 0) is there when the number is above i; the next of this segment to come is
        // the first i >= now, the next to go the last i < now, with i % count == index.
        if self.to > self.from {
            let vu = now.checked_add((index + count - now % count) % count)?;
            (vu < self.to).then_some(vu + 1)
        } else {
            let vu = now.checked_sub(1)?;
            let vu = vu.checked_sub((vu % count + count - index) % count)?;
            (vu >= self.to && self.to < self.from).then_some(vu)
        }
    }

    /// When the number of VUs becomes `vus`, which lies between `from` and `to`.
    fn time_of(&self, vus: u32) -> u64 {
        let length = u128::from(self.end - self.start);
        let height = u128::from(self.from.abs_diff(self.to)).max(1);
        self.end - (length * u128::from(vus.abs_diff(self.to)) / height) as u64
    }
}

#[cfg(test)]
mod tests;
