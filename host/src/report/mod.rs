//! From a summary to what people and machines read. Pure.
