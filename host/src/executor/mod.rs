//! When iterations start: one file per executor, the pacer, the VU pool. SEMANTICS §1.
