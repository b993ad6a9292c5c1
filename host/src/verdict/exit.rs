//! Exit codes, as one documented type. SEMANTICS §6: the first cause in this order is the code.

use serde::{Deserialize, Serialize};

use super::Status;

macro_rules! causes {
    ($($variant:ident $code:literal $doc:literal;)*) => {
        /// Why a run ends as it does. Ordered: the first cause decides the exit code, all are shown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause { $(#[doc = $doc] $variant,)* }

        impl Cause {
            /// All causes, most telling first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The exit code.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            /// In a few words.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

impl Cause {
    /// Each of them once, the most telling first. "No data or insufficient, nothing else": beside another
    /// cause it is a reason only.
    pub fn settle(causes: &mut Vec<Self>) {
        causes.sort_unstable();
        causes.dedup();
        if causes.first().is_some_and(|first| *first < Self::NotShown) {
            causes.retain(|cause| *cause != Self::NotShown);
        }
    }

    /// The exit code of what has these causes and that status: the first cause's, else 0; with
    /// `fail_on_warn`, 99 for a warning.
    pub fn exit_code(causes: &[Self], status: Status, fail_on_warn: bool) -> u8 {
        match causes.iter().min() {
            Some(cause) => cause.code(),
            None if fail_on_warn && status == Status::Warn => Self::ThresholdsFailed.code(),
            None => 0,
        }
    }
}

causes! {
    Configuration 104 "bad configuration, usage, or a workload that does not load";
    PluginRefused 114 "plugin refused (version, imports, grant, digest)";
    Unreachable 116 "bus or database unreachable";
    SetupTimeout 100 "setup timed out";
    WorkloadError 107 "script or plugin error outside iterations";
    TargetDied 113 "target did not start, or died unplanned";
    TeardownTimeout 101 "teardown timed out";
    Internal 109 "internal error (a panic: a bug)";
    NotWritten 118 "results could not be written";
    Interrupted 105 "interrupted from outside";
    StoppedRemotely 103 "stopped by remote control";
    Aborted 108 "aborted by the workload";
    Invalid 111 "invalid: the runner, not the system, was the limit";
    ThresholdsFailed 99 "thresholds failed";
    MarkedFailed 110 "marked failed by the workload";
    NotShown 117 "no data or insufficient, nothing else";
    Regression 112 "regression against the baseline";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_their_order_are_the_documented_ones() {
        let codes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(
            codes,
            [104, 114, 116, 100, 107, 113, 101, 109, 118, 105, 103, 108, 111, 99, 110, 117, 112]
        );
        assert!(Cause::ALL.is_sorted());
    }
}
