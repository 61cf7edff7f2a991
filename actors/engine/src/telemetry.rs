//! Turns off ONNX Runtime's own telemetry. Since 1.31 the library keeps a device id and a database of events in the
//! user's cache folder, and sends them, unless an environment variable forbids it when the library is loaded. The
//! environment must not be changed while another thread may read it, so [`turn_off`] starts the program again with the
//! variable set, before there is a second thread. `Runtime::load` refuses a library that would still send.

use std::{env, io, os::unix::process::CommandExt, process::Command};

/// The variable that the library reads.
pub const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// The value that turns telemetry off.
const OFF: &str = "1";

/// Whether a library loaded now sends nothing.
pub fn is_off() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| value == OFF)
}

/// Must be the first call in a program's `main`. Unless telemetry is off already, the program starts again with the
/// same arguments, as the same process, with telemetry off.
///
/// # Errors
///
/// The program can't start again: its path is unknown, or the system refuses. Nothing has changed then.
pub fn turn_off() -> io::Result<()> {
    if is_off() {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut again = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env(VARIABLE, OFF).exec())
}
