//! What a file is, before anything compiles it: a walk over its sections.
//!
//! Denial of service while compiling is not a vulnerability in wasmtime's policy, so nesting and the
//! number of functions are bounded here, and a file that is no component is refused with a sentence
//! that says what it is. Nothing inside the sections is interpreted: validation is the compiler's.

use crate::diagnostic::Diagnostic;

/// Components and modules within one another.
const NESTING: u32 = 8;

/// Functions of all core modules together.
const FUNCTIONS: u64 = 200_000;

/// Core modules and components inside.
const PARTS: u32 = 1_000;

const MAGIC: &[u8; 4] = b"\0asm";
const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// Section ids.
mod section {
    pub(super) const CORE_FUNCTIONS: u8 = 3;
    pub(super) const COMPONENT_CORE_MODULE: u8 = 1;
    pub(super) const COMPONENT_COMPONENT: u8 = 4;
}

/// Refuses what is no component, or too much of one.
pub(super) fn check(bytes: &[u8]) -> Result<(), Diagnostic> {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(not_wasm(bytes));
    };
    if magic != MAGIC {
        return Err(not_wasm(bytes));
    }
    match rest.first_chunk::<4>() {
        Some(&COMPONENT) => {}
        Some(&CORE) => {
            return Err(Diagnostic::new("this is a core WebAssembly module, not a component").help(
                "build for `wasm32-wasip2` (`cargo build --release --target wasm32-wasip2`), or make a \
                 component of it with `wasm-tools component new`",
            ));
        }
        Some(other) => {
            return Err(Diagnostic::new(format!(
                "this WebAssembly file is of a kind that is not known here (version bytes {other:02x?})"
            ))
            .help("build with the `wasm32-wasip2` target of a current toolchain"));
        }
        None => return Err(truncated(bytes.len())),
    }
    let mut count = Count::default();
    walk(bytes, 0, true, &mut count, bytes.len())
}

#[derive(Default)]
struct Count {
    functions: u64,
    parts: u32,
}

fn walk(
    bytes: &[u8],
    depth: u32,
    component: bool,
    count: &mut Count,
    whole: usize,
) -> Result<(), Diagnostic> {
    count.parts += 1;
    if depth > NESTING || count.parts > PARTS {
        return Err(Diagnostic::new(format!(
            "the component nests more than {NESTING} deep or has more than {PARTS} parts"
        ))
        .help("a workload needs one module; link fewer components into it"));
    }
    let Some(mut rest) = bytes.get(8..) else { return Err(truncated(whole)) };
    while let Some((&id, after)) = rest.split_first() {
        let (size, after) = leb(after).ok_or_else(|| truncated(whole))?;
        let size = usize::try_from(size).map_err(|_| truncated(whole))?;
        let (body, after) = after.split_at_checked(size).ok_or_else(|| truncated(whole))?;
        match (component, id) {
            (false, section::CORE_FUNCTIONS) => {
                count.functions += leb(body).map_or(0, |(functions, _)| functions);
                if count.functions > FUNCTIONS {
                    return Err(Diagnostic::new(format!(
                        "the component has more than {FUNCTIONS} functions"
                    ))
                    .help("build it with optimisation and without unused code"));
                }
            }
            (true, section::COMPONENT_CORE_MODULE) => walk(body, depth + 1, false, count, whole)?,
            (true, section::COMPONENT_COMPONENT) => walk(body, depth + 1, true, count, whole)?,
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

/// An unsigned LEB128 number of at most 32 bits.
pub(super) fn leb(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn not_wasm(bytes: &[u8]) -> Diagnostic {
    let start = &bytes[..bytes.len().min(4)];
    Diagnostic::new(format!(
        "this is not WebAssembly: it begins with {start:02x?}, a component with [00, 61, 73, 6d]"
    ))
    .help("give the `.wasm` file that `cargo build --target wasm32-wasip2` made")
}

fn truncated(len: usize) -> Diagnostic {
    Diagnostic::new(format!("the component is cut off: its sections go beyond its {len} bytes"))
        .help("build or copy it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        check(bytes).unwrap_err().message
    }

    #[test]
    fn a_file_is_called_what_it_is() {
        assert!(message(b"").contains("not WebAssembly"));
        assert!(message(b"#!/bin/sh").contains("not WebAssembly"));
        assert!(message(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(message(b"\0asm\x0d\0").contains("cut off"));
        assert!(message(b"\0asm\x0c\0\x01\0").contains("kind"));
        assert!(check(b"\0asm\x0d\0\x01\0").is_ok(), "an empty component is well formed");
        assert!(message(b"\0asm\x0d\0\x01\0\x01\x7f").contains("cut off"));
    }

    #[test]
    fn nesting_and_functions_are_bounded() {
        let mut nested = b"\0asm\x0d\0\x01\0".to_vec();
        for _ in 0..12 {
            let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
            outer.push(u8::try_from(nested.len()).unwrap());
            outer.extend_from_slice(&nested);
            nested = outer;
        }
        assert!(message(&nested).contains("nests"));
        let mut many = b"\0asm\x0d\0\x01\0\x01\x0e\0asm\x01\0\0\0\x03\x04".to_vec();
        many.extend_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(message(&many).contains("functions"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(tail: Vec<u8>) {
            let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
            bytes.extend_from_slice(&tail);
            let _ = check(&bytes);
            let _ = check(&tail);
        }
    }
}
