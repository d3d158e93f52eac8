//! DPDK's log lines, forwarded to the `log` crate under the target `dpdk`.
//!
//! EAL and drivers explain a failure only in their log. [`capture`] collects what this thread logs as an error while
//! a function runs, so that our own error can carry the reason.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Once;

use log::Level;

thread_local! {
    /// Error lines of this thread while a capture is under way.
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes DPDK log through the `log` crate from now on. Works before EAL starts, so that nothing is missed.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let functions = dpdk_sys::cookie_io_functions_t { write: Some(write), ..Default::default() };
        // SAFETY: the mode is NUL-terminated, `write` ignores the cookie, and glibc copies the table.
        let stream = unsafe { dpdk_sys::fopencookie(std::ptr::null_mut(), c"w".as_ptr(), functions) };
        if !stream.is_null() {
            // SAFETY: the stream is open and is never closed.
            unsafe { dpdk_sys::rte_openlog_stream(stream) };
        }
    });
}

/// Runs `action` and returns, beside its result, the errors that DPDK logged on this thread meanwhile, as one line. Captures
/// do not nest.
pub(super) fn capture<R>(action: impl FnOnce() -> R) -> (R, String) {
    CAPTURED.with_borrow_mut(|captured| *captured = Some(String::new()));
    let result = action();
    let lines = CAPTURED.with_borrow_mut(Option::take).unwrap_or_default();
    (result, lines)
}

/// The stream's write function: one call per log message, since DPDK flushes after each.
extern "C" fn write(_cookie: *mut c_void, text: *const c_char, size: usize) -> i64 {
    // SAFETY: glibc passes `size` readable bytes that stay until this function returns.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), size) };
    // SAFETY: reads a variable of this thread.
    let level = unsafe { dpdk_sys::rte_log_cur_msg_loglevel() };
    for line in String::from_utf8_lossy(bytes).lines().map(str::trim).filter(|line| !line.is_empty()) {
        forward(level, line);
    }
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Captures an error where somebody collects them, else logs the line; without a logger, problems go to stderr.
fn forward(level: c_int, line: &str) {
    let level = match u32::try_from(level).unwrap_or(dpdk_sys::RTE_LOG_INFO) {
        0..=dpdk_sys::RTE_LOG_ERR => Level::Error,
        dpdk_sys::RTE_LOG_WARNING => Level::Warn,
        dpdk_sys::RTE_LOG_NOTICE => Level::Info,
        dpdk_sys::RTE_LOG_INFO => Level::Debug,
        _ => Level::Trace,
    };
    let captured = level == Level::Error
        && CAPTURED
            .try_with(|captured| match captured.try_borrow_mut().as_deref_mut() {
                Ok(Some(lines)) => {
                    if !lines.is_empty() {
                        lines.push_str("; ");
                    }
                    lines.push_str(line);
                    true
                }
                _ => false,
            })
            .unwrap_or(false);
    if captured {
        log::debug!(target: "dpdk", "{line}");
    } else if log::max_level() == log::LevelFilter::Off && level <= Level::Warn {
        eprintln!("dpdk: {line}");
    } else {
        log::log!(target: "dpdk", level, "{line}");
    }
}
