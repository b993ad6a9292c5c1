//! How many related pairs a warming takes: `topn`, always as many; `adaptive`, more while too few
//! questions are answered by L1, fewer while enough are.

use wavetank_sdk::{Json, json};

/// A strategy, its profile, and how often it chose.
#[derive(Debug)]
pub(crate) struct Strategy {
    profile: &'static str,
    kind: Kind,
    selections: u64,
}

#[derive(Debug)]
enum Kind {
    TopN { top: usize, min_score: f32 },
    Adaptive { target: f64, min: f64, max: f64, min_score: f32, factor: f64, now: f64 },
}

impl Strategy {
    /// The strategy of a profile.
    pub(crate) fn of(profile: &str) -> Result<Self, String> {
        let adaptive = |target, min, max, min_score, factor| Kind::Adaptive {
            target,
            min,
            max,
            min_score,
            factor,
            now: min,
        };
        let (profile, kind) = match profile {
            "conservative" => ("conservative", Kind::TopN { top: 3, min_score: 0.5 }),
            "balanced" => ("balanced", adaptive(0.97, 3.0, 8.0, 0.3, 0.1)),
            "aggressive" => ("aggressive", adaptive(0.99, 5.0, 12.0, 0.2, 0.15)),
            other => {
                return Err(format!(
                    "profile `{other}` is none: conservative, balanced or aggressive"
                ));
            }
        };
        Ok(Self { profile, kind, selections: 0 })
    }

    /// Which of these (best first) to take, given the share of questions that L1 answered.
    pub(crate) fn choose(
        &mut self,
        mut related: Vec<(u32, f32)>,
        rate: Option<f64>,
    ) -> Vec<(u32, f32)> {
        self.selections += 1;
        let (most, least) = match &mut self.kind {
            Kind::TopN { top, min_score } => (*top, *min_score),
            Kind::Adaptive { target, min, max, min_score, factor, now } => {
                let towards = match rate {
                    Some(rate) if rate < *target => 1.0 + *factor,
                    Some(_) => 1.0 - *factor,
                    None => 1.0,
                };
                *now = (*now * towards).clamp(*min, *max);
                (now.round() as usize, *min_score)
            }
        };
        related.retain(|(_, score)| *score >= least);
        related.truncate(most);
        related
    }

    pub(crate) fn profile(&self) -> &'static str {
        self.profile
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::TopN { .. } => "topn",
            Kind::Adaptive { .. } => "adaptive",
        }
    }

    pub(crate) fn selections(&self) -> u64 {
        self.selections
    }

    pub(crate) fn parameters(&self) -> Json {
        match &self.kind {
            Kind::TopN { top, min_score } => json!({"topN": top, "minScore": rounded(*min_score)}),
            Kind::Adaptive { target, min, max, min_score, factor, now } => json!({
                "targetHitRate": target,
                "minPairs": min,
                "maxPairs": max,
                "minScore": rounded(*min_score),
                "adjustmentFactor": factor,
                "pairs": now.round(),
            }),
        }
    }
}

/// As it was written, and not as the nearest double of a single.
fn rounded(score: f32) -> f64 {
    (f64::from(score) * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adaptive_one_follows_the_hit_rate_within_its_bounds() {
        let related: Vec<_> = (0..20).map(|id| (id, 0.9)).collect();
        let mut strategy = Strategy::of("balanced").unwrap();
        assert_eq!(strategy.choose(related.clone(), None).len(), 3);
        for _ in 0..30 {
            strategy.choose(related.clone(), Some(0.1));
        }
        assert_eq!(strategy.choose(related.clone(), Some(0.1)).len(), 8);
        for _ in 0..30 {
            strategy.choose(related.clone(), Some(1.0));
        }
        assert_eq!(strategy.choose(related, Some(1.0)).len(), 3);
        assert_eq!(strategy.selections(), 63);
    }

    #[test]
    fn what_scores_too_low_is_not_taken() {
        let mut strategy = Strategy::of("conservative").unwrap();
        let taken = strategy.choose(vec![(1, 0.8), (2, 0.5), (3, 0.49)], None);
        assert_eq!(taken, [(1, 0.8), (2, 0.5)]);
        assert!(Strategy::of("bold").is_err());
    }
}
