//! A share of a plan: `index` of `count`. 0 of 1 is the local run.

use serde::{Deserialize, Serialize};

/// A share of a plan. The shares of all indices sum to the whole at every instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Which share, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

impl Default for Segment {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Segment {
    /// The share `index` of `count` of this share: an agent's share is split over its shards in the
    /// same way as the plan is over agents.
    #[must_use]
    pub const fn nested(self, index: u32, count: u32) -> Self {
        Self { index: self.index + self.count * index, count: self.count * count }
    }

    /// Whether item `n` (VU number or arrival number, from 0) belongs to this share.
    pub const fn owns(self, n: u64) -> bool {
        n % self.count as u64 == self.index as u64
    }

    /// How many of the items `0..total` belong to this share.
    pub const fn share(self, total: u64) -> u64 {
        let (index, count) = (self.index as u64, self.count as u64);
        total / count + (total % count > index) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_sum_to_the_whole() {
        for total in 0..100 {
            for count in 1..7 {
                let shares = (0..count).map(|index| Segment { index, count });
                let sum: u64 = shares.clone().map(|segment| segment.share(total)).sum();
                assert_eq!(sum, total);
                for segment in shares {
                    let owned = (0..total).filter(|n| segment.owns(*n)).count() as u64;
                    assert_eq!(owned, segment.share(total));
                }
            }
        }
    }

    #[test]
    fn nested_shares_sum_to_the_share_that_they_split() {
        for count in 1..5 {
            for whole in (0..count).map(|index| Segment { index, count }) {
                for parts in 1..5 {
                    let nested: Vec<_> = (0..parts).map(|part| whole.nested(part, parts)).collect();
                    for total in 0..60 {
                        let sum: u64 = nested.iter().map(|part| part.share(total)).sum();
                        assert_eq!(sum, whole.share(total));
                        let owners = nested.iter().filter(|part| part.owns(total)).count();
                        assert_eq!(owners, usize::from(whole.owns(total)));
                    }
                }
            }
        }
    }
}
