//! ONNX Runtime's own telemetry, off. Since 1.31 its library keeps a device's id and a database of events in the user's
//! cache folder, and sends them, unless one variable of the environment says no by the time it is loaded. No thread may
//! read the environment while it is changed, so a program changes it for its next life: [`turn_off`] begins the program
//! again, before it has a second thread. `Runtime::load` refuses a library that would still send.

use std::{env, io, os::unix::process::CommandExt, process::Command};

/// What the library reads.
pub const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
/// What turns it off.
const OFF: &str = "1";

/// Whether a library that is loaded now sends nothing.
pub fn is_off() -> bool {
    env::var_os(VARIABLE).is_some_and(|value| value == OFF)
}

/// To be called first in a program's `main`: the same program with the same arguments begins again, as the same process,
/// with telemetry off. Returns where it is off already, or with an error where the program can't begin again.
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
