//! Child processes and what the system says of them: memory and processor time.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A child process, killed when the benchmark ends in any way.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program and reads the address it prints.
    pub(crate) fn start(command: &mut Command) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|line| line.starts_with("listening on "));
        let line = line.unwrap_or_else(|| panic!("{command:?} ended before it listened"));
        (Self(child), line.trim_start_matches("listening on ").to_owned())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.id().to_string()]).status().unwrap().success());
        let status = self.0.wait().unwrap();
        assert!(status.success(), "a process did not stop well: {status}");
    }

    /// A figure of its memory in KiB, such as `VmRSS`.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fields of `proc_pid_stat(5)` that follow the name.
const PARENT: usize = 1;
const OWN: [usize; 2] = [11, 12];
const ENDED_CHILDREN: [usize; 2] = [13, 14];

fn stat(id: u32) -> Vec<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.map(|field| field.parse().unwrap_or(0)).collect()
}

fn seconds(stat: &[u64], fields: [usize; 2]) -> f64 {
    let ticks: u64 = fields.iter().map(|field| stat.get(*field).copied().unwrap_or(0)).sum();
    // Linux counts in hundredths.
    f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0
}

/// Processor time that all processes of the machine have used, and that was not to be had, in seconds.
pub(crate) fn busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> = all.split_whitespace().skip(1).map(|time| time.parse().unwrap_or(0)).collect();
    // `proc_stat(5)`: user, nice, system; behind idle and iowait irq, softirq, steal.
    seconds(&times, [0, 1]) + seconds(&times, [2, 5]) + seconds(&times, [6, 7])
}

/// Processor time that a process has used, in seconds.
pub(crate) fn processor(id: u32) -> f64 {
    seconds(&stat(id), OWN)
}

/// Processor time that a process and its children have used, those that have ended too.
pub(crate) fn processor_with_children(id: u32) -> f64 {
    let numbers = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let others = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(stat);
    let children = others.filter(|stat| stat.get(PARENT) == Some(&u64::from(id)));
    let own = stat(id);
    seconds(&own, OWN) + seconds(&own, ENDED_CHILDREN) + children.map(|stat| seconds(&stat, OWN)).sum::<f64>()
}
