//! The summary of a run: the contract of DESIGN §5, `wavetank.summary/1`.
