//! How a guest ended: wasmtime's error, what the guest wrote before it, and what the host refused it,
//! as one [`GuestError`].

use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use super::host::{GuestState, World};
use crate::workload::{GuestError, GuestErrorKind, slice::Allowance};

/// Bytes of a message that are kept.
const MESSAGE_BYTES: usize = 4 << 10;

/// An error that the guest returned.
pub(super) fn returned(mut message: String, world: Option<&World>) -> GuestError {
    let misuse = world.and_then(|world| world.misuse.borrow_mut().take());
    let kind = match misuse {
        Some(misuse) if message.contains(&misuse) => GuestErrorKind::Misuse,
        _ => GuestErrorKind::Threw,
    };
    cut(&mut message);
    GuestError { kind, message, place: None }
}

/// The guest used its time up.
pub(super) fn out_of_time(allowance: Allowance) -> GuestError {
    let kind = GuestErrorKind::CpuTimeout;
    GuestError { kind, message: allowance.exceeded(), place: None }
}

/// A trap, or a limit; `wrote` is what the guest wrote to its standard error in this call.
pub(super) fn trapped(error: &wasmtime::Error, state: &mut GuestState, wrote: &str) -> GuestError {
    if let Some(refused) = state.ceiling.refused.take() {
        return limit(refused);
    }
    if let Some(I32Exit(code)) = error.downcast_ref::<I32Exit>() {
        return trap(format!("it called exit({code}): a workload returns instead"), None);
    }
    if error.downcast_ref::<wasmtime_wasi::ResourceTableError>().is_some() {
        return limit(format!("it holds more handles than it may (handles): {error}"));
    }
    let root = error.root_cause().to_string();
    if root.contains("fuel allocated for hostcalls") {
        return limit(
            "it passed more bytes to one host call than it may (hostcall_bytes)".to_owned(),
        );
    }
    let panic = panic(wrote);
    match (error.downcast_ref::<Trap>(), panic) {
        (Some(Trap::StackOverflow), _) => trap(
            "its stack overflowed: it recurses too deeply (guest_stack)".to_owned(),
            frame(error),
        ),
        (_, Some((message, place))) => trap(format!("it panicked: {message}"), place),
        (Some(reason), None) => trap(reason.to_string(), frame(error)),
        (None, None) => trap(root, frame(error)),
    }
}

fn trap(mut message: String, place: Option<String>) -> GuestError {
    cut(&mut message);
    GuestError { kind: GuestErrorKind::Trapped, message, place }
}

/// A limit of the run stopped the guest.
pub(super) fn limit(mut message: String) -> GuestError {
    cut(&mut message);
    GuestError { kind: GuestErrorKind::Limit, message, place: None }
}

/// The message and the place of a Rust panic, from what it wrote.
fn panic(wrote: &str) -> Option<(String, Option<String>)> {
    let (_, told) = wrote.split_once(" panicked at ")?;
    let (place, rest) = told.split_once('\n').unwrap_or((told, ""));
    let message: Vec<_> =
        rest.lines().take_while(|line| !line.starts_with("note: run with")).collect();
    Some((message.join("\n"), Some(place.trim_end_matches(':').to_owned())))
}

/// The innermost function of the backtrace.
fn frame(error: &wasmtime::Error) -> Option<String> {
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>()?;
    let frame = backtrace.frames().first()?;
    let name = frame.func_name()?;
    Some(format!("in {}", rustc_free(name)))
}

/// A symbol without its hash.
fn rustc_free(name: &str) -> &str {
    name.split_once("17h").map_or(name, |(name, _)| name)
}

fn cut(message: &mut String) {
    if message.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES)
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_read_from_what_the_guest_wrote() {
        let wrote = "hello\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nboom\nand on\n\
                     note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let (message, place) = panic(wrote).unwrap();
        assert_eq!(message, "boom\nand on");
        assert_eq!(place.as_deref(), Some("src/lib.rs:7:9"));
        assert_eq!(panic("nothing of the kind"), None);
    }

    #[test]
    fn messages_are_cut_between_characters() {
        let mut long = "ä".repeat(MESSAGE_BYTES);
        cut(&mut long);
        assert!(long.len() <= MESSAGE_BYTES + 4 && long.ends_with('…'));
    }
}
